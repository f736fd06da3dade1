/**
 * Days as a row of bars.
 *
 * @module
 */

import { amountText, dayText } from "./words.js";

/** More days than this have no room for a number each: months are named. */
const MOST_NUMBERED = 31;

/** @typedef {import("./spans.js").Day} Day */

/** @param {HTMLElement} list @param {Day[]} days one after the other */
export function showDays(list, days) {
  const most = Math.max(1, ...days.map(({ seconds }) => seconds));
  const isDense = days.length > MOST_NUMBERED;
  list.classList.toggle("dense", isDense);
  list.replaceChildren(...days.map((day) => dayItem(day, most, isDense)));
  list.scrollLeft = list.scrollWidth; // where not all fit, the last ones
}

/** @param {Day} day @param {number} most seconds of a day @param {boolean} isDense */
function dayItem({ day, seconds }, most, isDense) {
  const item = document.createElement("li");
  const [words, column, number] = ["words visually-hidden", "column", "number"].map((style) => {
    const part = document.createElement("span");
    part.className = style;
    return part;
  });
  words.textContent = item.title = `${dayText(day)}: ${amountText(seconds)}`;
  column.style.height = `${(100 * Math.max(0, seconds)) / most}%`;
  number.textContent = isDense ? monthName(day) : String(Number(day.slice(-2)));
  number.setAttribute("aria-hidden", "true");
  item.append(words, column, number);
  return item;
}

const monthFormat = new Intl.DateTimeFormat("en", { month: "short", timeZone: "UTC" });

/** At the day that it begins. @param {string} day */
const monthName = (day) => (day.endsWith("-01") ? monthFormat.format(new Date(day)) : "");
