/**
 * Spans of days: days are texts such as `2026-11-21`, which sort as days do. Pure.
 *
 * @module
 */

/** @typedef {{ first: string, last: string }} Span both days included */
/** @typedef {{ day: string, seconds: number }} Day what was used on it */

/** The longest span that the meter answers for. */
export const MOST_DAYS = 366;
const DAY_MS = 86_400_000;

/** @param {string} day @param {number} [days] below zero: before it */
export function dayAfter(day, days = 1) {
  return new Date(Date.parse(day) + days * DAY_MS).toISOString().slice(0, 10);
}

const firstOfMonth = (/** @type {string} */ day) => `${day.slice(0, 8)}01`;

/** @param {Span} span */
export const daysIn = ({ first, last }) => (Date.parse(last) - Date.parse(first)) / DAY_MS + 1;

/** @param {string} choice @param {string} today @returns {Span | null} null for a choice that names no days */
export function spanOf(choice, today) {
  const first = firstOfMonth(today);
  if (choice === "this-month") return { first, last: today };
  if (choice === "last-month") return { first: firstOfMonth(dayAfter(first, -1)), last: dayAfter(first, -1) };
  if (choice === "last-30-days") return { first: dayAfter(today, -29), last: today };
  return null;
}

/**
 * What a span is compared with: of a month's beginning the same days of the month before, of a whole
 * month the whole month before, and of other days as many just before.
 *
 * @param {Span} span
 * @returns {Span}
 */
export function spanBefore({ first, last }) {
  const end = dayAfter(first, -1);
  if (first !== firstOfMonth(last)) return { first: dayAfter(first, -daysIn({ first, last })), last: end };
  const begin = firstOfMonth(end);
  const isWhole = firstOfMonth(dayAfter(last)) !== first;
  const same = `${begin.slice(0, 8)}${last.slice(8)}`;
  return { first: begin, last: isWhole || same > end ? end : same };
}

/** @param {Span} span what was typed @returns {string} what is wrong with it, or nothing */
export function spanProblem({ first, last }) {
  if (first === "" || last === "") return "Give the first and the last day.";
  if (first > last) return "The last day is before the first one.";
  if (daysIn({ first, last }) > MOST_DAYS) return `At most ${MOST_DAYS} days are shown.`;
  return "";
}

/** @template {Day} D @param {Span} span @param {D[]} used @returns {(D | Day)[]} every day, those without usage too */
export function everyDay({ first, last }, used) {
  const known = new Map(used.map((each) => [each.day, each]));
  const days = [];
  for (let day = first; day <= last; day = dayAfter(day)) days.push(known.get(day) ?? { day, seconds: 0 });
  return days;
}
