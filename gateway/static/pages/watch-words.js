/**
 * What the pages `/usage` and `/ops` say, in plain words. Pure.
 *
 * @module
 */

import { amountText, countText, dayText } from "./words.js";

/** @type {Record<string, string>} */
const ENDINGS = {
  token_refused: "Not connected: the token was refused",
  token_expired: "Not connected: the token has expired",
  not_allowed: "Not connected: not allowed",
};

/** @param {string} reason */
export function watchEndingText(reason) {
  return ENDINGS[reason] ?? "Not connected";
}

/**
 * @param {string} reason
 * @param {string} message the server's
 * @param {string} scope that the page needs
 */
export function watchProblemText(reason, message, scope) {
  if (reason === "token_refused") return "The token was refused. Paste a fresh one.";
  if (reason === "token_expired") return "The token has expired. Paste a fresh one.";
  if (reason === "not_allowed" && message.includes("scope")) {
    return `This token may not be used here: the page needs one with the scope “${scope}”. Paste another one.`;
  }
  if (reason === "not_allowed") return `The meter lets no page of this address watch: ${message}.`;
  return `The meter has ended the connection: ${message || reason}.`;
}

/** @param {number} shown @param {number} all */
export function listText(shown, all) {
  if (all === 0) return "No sessions are live.";
  if (shown < all) return `${count(shown)} of ${count(all)} are listed, the last to begin first.`;
  return "";
}

/** `1,234` @param {number} number */
export const count = (number) => number.toLocaleString("en");

/** @param {boolean} whole whether all of the window was watched @param {number} least @param {number} most */
export function trendText(whole, least, most) {
  const span = whole ? "in the last 10 minutes" : "since this page was opened";
  const range = least === most ? count(most) : `${count(least)} to ${count(most)}`;
  return `Live sessions ${span}: ${range}`;
}

/** @param {number} at epoch seconds @param {Date} [now] @returns {string} the time of day, with the day unless it is today */
export function timeText(at, now = new Date()) {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString("en-GB");
  if (date.toDateString() === now.toDateString()) return time;
  return `${date.toLocaleDateString("en", { month: "short", day: "numeric" })}, ${time}`;
}

/** @param {number} seconds watched */
export function rateSpanText(seconds) {
  return seconds >= 60 ? "Counted in the last minute" : `Counted in the last ${countText(seconds, "second")}`;
}

/** When the limit is reached if it goes on like this. @param {number} seconds @param {boolean} thisPeriod */
export function paceText(seconds, thisPeriod) {
  if (!thisPeriod) return "At the present pace it lasts for the whole month.";
  if (seconds < 90) return `At the present pace nothing is left in about ${countText(seconds, "second")}.`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `At the present pace nothing is left in about ${minutes} minutes.`;
  const hours = Math.round(seconds / 3600);
  if (hours < 48) return `At the present pace nothing is left in about ${hours} hours.`;
  return `At the present pace nothing is left in about ${Math.round(hours / 24)} days.`;
}

/** @param {"fine" | "near" | "over" | "unlimited"} level @param {boolean} stopped @param {number} overage seconds */
export function statusText(level, stopped, overage) {
  if (stopped) return "Stopped: nothing is left";
  if (level === "over") return overage > 0 ? "Recording on, as overage" : "At the limit";
  return level === "unlimited" ? "Active, without a limit" : "Active";
}

/** @param {string} scope whose limit binds @param {boolean} over */
export function upgradeText(scope, over) {
  const who = scope === "member"
    ? "Ask your organization to raise your own limit"
    : "Change to a larger plan, or have your organization’s limit raised";
  return over
    ? `${who}. Recordings can begin again at once.`
    : `${who}, and recordings go on without a break.`;
}

/** @param {string} name @param {string} status of the subscription */
export const planText = (name, status) => `${name}, ${status.replaceAll("_", " ")}`;

/**
 * Where the month will end, used on as until now.
 *
 * @param {{ projected_seconds: number, limit_reached_on: string | null }} projection
 * @param {number | null} left seconds
 */
export function projectionText({ projected_seconds: projected, limit_reached_on: day }, left) {
  const end = `Used on as until now, it is about ${amountText(Math.ceil(projected / 60) * 60)} at the end of the month`;
  return day === null || left === 0 ? `${end}.` : `${end}, and the limit is reached on ${dayText(day)}.`;
}

/** @param {number} adjusted seconds that were added, or given back, by hand */
export function daysText(adjusted) {
  const behind = "Days are what is safe in Postgres, a minute or so behind";
  if (adjusted === 0) return `${behind}.`;
  const what = adjusted > 0 ? "added" : "given back";
  return `${behind}, without ${amountText(Math.abs(adjusted))} that ${countsAsOne(adjusted)} ${what} by hand.`;
}

/** @param {number} seconds */
const countsAsOne = (seconds) => (Math.abs(seconds) === 1 ? "was" : "were");

/** An id within a sentence: whatever letters it is made of, it stays in its place. @param {string} id */
export const quoted = (id) => `“\u2068${id.length > 64 ? `${id.slice(0, 64)}…` : id}\u2069”`;

/** @param {{ organization_id: string, reason: string, session_seconds: number }} stopped @param {string} user */
export function stoppedText({ organization_id: organization, reason, session_seconds: seconds }, user) {
  const whose = user === "" ? `A session of ${quoted(organization)}` : `The session of ${quoted(user)}, ${quoted(organization)},`;
  const counted = `${amountText(seconds)} counted`;
  if (reason === "admin") return `${whose} is stopped: ${counted}.`;
  return `${whose} had ended before (${reason.replaceAll("_", " ")}): ${counted}.`;
}

/** @param {string} code @param {string} message */
export function stopFailedText(code, message) {
  if (code === "session_not_found") return "There is no such session any more.";
  if (code === "storage_unavailable") return "The session can’t be stopped now. Try again soon.";
  return `The session could not be stopped: ${message || code}.`;
}
