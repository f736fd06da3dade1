/**
 * What the page `/analytics` says, in plain words. Pure.
 *
 * @module
 */

import { count, quoted, watchProblemText } from "./watch-words.js";
import { amountText, countText, dayText } from "./words.js";

const spanFormat = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const monthFormat = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });

/** @param {import("./spans.js").Span} span @returns {string} `Nov 1 – 21, 2026` */
export const spanText = ({ first, last }) => spanFormat.formatRange(new Date(first), new Date(last));

/** @param {string} day @returns {string} `Nov 21, 2026` */
export const dateText = (day) => spanFormat.format(new Date(day));

/** @param {string} month its first day @returns {string} `November 2026` */
export const monthText = (month) => monthFormat.format(new Date(month));

/** Rounded up, as what was used always is. @param {number} seconds @returns {string} `1,234` */
export const minutesText = (seconds) => count(Math.ceil(seconds / 60));

/** @param {number} now @param {number} before */
export function changeText(now, before) {
  if (before === 0) return now === 0 ? "None before either" : "None before";
  const percent = Math.round((100 * (now - before)) / before);
  const sign = percent > 0 ? "+" : percent < 0 ? "−" : "±";
  return `${sign}${count(Math.abs(percent))} %, was ${count(before)}`;
}

/** What the bars of the days show, in a sentence. @param {import("./spans.js").Day[]} days */
export function daysSummary(days) {
  const most = days.reduce((one, other) => (other.seconds > one.seconds ? other : one));
  const used = days.filter(({ seconds }) => seconds > 0).length;
  if (used === 0) return "Nothing was recorded in these days.";
  const on = `Recorded on ${count(used)} of ${countText(days.length, "day")}`;
  return `${on}, the most on ${dayText(most.day)}: ${amountText(most.seconds)}.`;
}

/** @param {string} organization none: all @param {string} before the span compared with @param {boolean} isEmpty */
export function answerText(organization, before, isEmpty) {
  const whose = organization === "" ? "All organizations" : quoted(organization);
  return `${whose}, compared with ${before}.${isEmpty ? " Nothing was recorded or used in these days." : ""}`;
}

/** @param {string} type `interviews_per_day` @returns {string} `Interviews per day` */
export function featureText(type) {
  const words = type.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const NO_PLAN = "Without a plan";

const TOKEN_CODES = new Set(["token_missing", "token_expired", "token_refused", "not_allowed"]);

/** Whether another token may do better. @param {string} code */
export const isOfToken = (code) => TOKEN_CODES.has(code);

/** @param {string} code @param {string} detail the server's @param {number | null} retryAfter seconds */
export function noAnswerText(code, detail, retryAfter) {
  if (code === "not_allowed") return watchProblemText(code, "scope", "admin");
  if (code === "token_missing") return "The meter wants a token. Paste one.";
  if (isOfToken(code)) return watchProblemText(code, detail, "admin");
  if (code === "unreachable") return "The meter doesn’t answer. Check your connection, then press Show.";
  if (code === "storage_unavailable") return "The meter can’t reach its storage now. Press Show in a moment.";
  if (code === "too_many_requests") {
    return `The meter is making other reports. Try again in ${countText(retryAfter ?? 10, "second")}.`;
  }
  if (code === "broken_off") return "The report broke off, and nothing was saved. Try again.";
  return `The meter can’t answer this: ${detail || code}.`;
}

/** @param {number} bytes @returns {string} `12.3 MB` */
export function sizeText(bytes) {
  if (bytes < 1_000_000) return `${count(Math.ceil(bytes / 1000))} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** @param {string} name of a file @param {number} bytes */
export const savedText = (name, bytes) => `${name} is complete: ${sizeText(bytes)}.`;

/** @param {string} url of a report @param {string} name of the file */
export const curlText = (url, name) => `curl -f -H "Authorization: Bearer $TOKEN" -o ${name} '${url}'`;
