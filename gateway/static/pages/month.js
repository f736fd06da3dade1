/**
 * The month's days, the part of who looks, and the plan: what the socket doesn't tell, asked for over
 * HTTP once a minute. What can't be had is not shown.
 *
 * @module
 */

import { ask } from "./ask.js";
import { showDays } from "./day-chart.js";
import { element, setText } from "./page.js";
import { everyDay } from "./spans.js";
import { daysText, planText, projectionText } from "./watch-words.js";
import { amountText } from "./words.js";

const EVERY_MS = 60_000;

/** @typedef {import("./spans.js").Day} Day */

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
      return await ask(path, this.#token(), signal);
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
  showDays(element("days"), days);
  setText("month-text", `${projectionText(month.projection, month.remaining_seconds)} ${daysText(month.adjusted_seconds)}`);
  element("month").hidden = false;
}

/** @param {{ plan_name: string, status: string } | null} subscription */
function showPlan(subscription) {
  element("plan").hidden = subscription === null;
  if (subscription !== null) setText("plan-name", planText(subscription.plan_name, subscription.status));
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
  const days = everyDay({ first: dateIn(zone, start), last: dateIn(zone, end - 1) }, used);
  return days.map(({ day, seconds }) => ({ day, seconds }));
}

/** @param {string} zone @param {number} at epoch seconds @returns {string} `2026-11-21` */
function dateIn(zone, at) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" }).format(at * 1000);
}
