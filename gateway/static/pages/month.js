/**
 * The month's days, the part of who looks, and the plan: what the socket doesn't tell, asked for over
 * HTTP once a minute. What can't be had is not shown.
 *
 * @module
 */

import { element, setText } from "./page.js";
import { daysText, planText, projectionText } from "./watch-words.js";
import { amountText, dayText } from "./words.js";

const EVERY_MS = 60_000;

/** @typedef {{ day: string, seconds: number }} Day `day` as `2026-11-21` */

export class Month {
  #token;
  #asking = new AbortController();
  #wanted = false;

  /** @param {() => string} token of now */
  constructor(token) {
    this.#token = token;
    setInterval(() => {
      if (this.#wanted && document.visibilityState === "visible") void this.ask();
    }, EVERY_MS);
  }

  /** Ask now, and from now on. */
  async ask() {
    this.#wanted = true;
    this.#asking.abort();
    const { signal } = (this.#asking = new AbortController());
    const [month, plan] = await Promise.all([
      this.#get("/api/usage/current-month?daily=true", signal),
      this.#get("/api/billing/subscription-info", signal),
    ]);
    if (signal.aborted) return;
    if (month !== null) showMonth(month);
    if (plan !== null) showPlan(plan.subscription);
  }

  /** What is shown is of another account. */
  forget() {
    this.#wanted = false;
    this.#asking.abort();
    for (const id of ["month", "mine", "plan"]) element(id).hidden = true;
  }

  /** @param {string} path @param {AbortSignal} signal @returns {Promise<any>} null when there is no answer */
  async #get(path, signal) {
    try {
      const headers = { Authorization: `Bearer ${this.#token()}` };
      const response = await fetch(path, { headers, signal, cache: "no-store" });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }
}

/** @param {any} month as `GET /api/usage/current-month` answers */
function showMonth(month) {
  element("mine").hidden = month.scope === "member";
  setText("mine-amount", amountText(Math.max(0, month.recorded_by_you_seconds)));
  const days = daysOf(month.period_start, month.period_end, month.time_zone, month.daily_breakdown ?? []);
  const most = Math.max(1, ...days.map(({ seconds }) => seconds));
  element("days").replaceChildren(...days.map((day) => dayItem(day, most)));
  setText("month-text", `${projectionText(month.projection, month.remaining_seconds)} ${daysText(month.adjusted_seconds)}`);
  element("month").hidden = false;
}

/** @param {{ plan_name: string, status: string } | null} subscription */
function showPlan(subscription) {
  element("plan").hidden = subscription === null;
  if (subscription !== null) setText("plan-name", planText(subscription.plan_name, subscription.status));
}

/** @param {Day} day @param {number} most seconds of a day */
function dayItem({ day, seconds }, most) {
  const item = document.createElement("li");
  const [words, column, number] = ["words visually-hidden", "column", "number"].map((style) => {
    const part = document.createElement("span");
    part.className = style;
    return part;
  });
  words.textContent = item.title = `${dayText(day)}: ${amountText(seconds)}`;
  column.style.height = `${(100 * Math.max(0, seconds)) / most}%`;
  number.textContent = String(Number(day.slice(-2)));
  number.setAttribute("aria-hidden", "true");
  item.append(words, column, number);
  return item;
}

/**
 * Every day of a period, those without usage too. Pure.
 *
 * @param {number} start epoch seconds
 * @param {number} end epoch seconds
 * @param {string} zone the account's (IANA)
 * @param {Day[]} used
 * @returns {Day[]}
 */
export function daysOf(start, end, zone, used) {
  const seconds = new Map(used.map((each) => [each.day, each.seconds]));
  const last = dateIn(zone, end - 1);
  const days = [];
  for (let day = dateIn(zone, start); day <= last; day = dayAfter(day)) {
    days.push({ day, seconds: seconds.get(day) ?? 0 });
  }
  return days;
}

/** @param {string} zone @param {number} at epoch seconds @returns {string} `2026-11-21` */
function dateIn(zone, at) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" }).format(at * 1000);
}

/** @param {string} day */
function dayAfter(day) {
  return new Date(Date.parse(day) + 86_400_000).toISOString().slice(0, 10);
}
