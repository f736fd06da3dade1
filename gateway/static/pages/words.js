/**
 * What the pages say, in plain words. Pure.
 *
 * @module
 */

/** @type {Record<string, string>} */
export const CONNECTIONS = {
  idle: "Not connected",
  connecting: "Connecting …",
  subscribed: "Waiting for figures …",
  connected: "Connected",
  draining: "Moving to another gateway …",
  waiting: "Reconnecting",
  away: "Asleep",
};

/** @param {number} seconds @returns {string} `04:05`, and from an hour on `1:04:05` */
export function clockText(seconds) {
  const pad = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const rest = `${pad(minutes % 60)}:${pad(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}

/** @param {number} seconds @returns {string} `3 h 12 min`, `12 min 5 s`, `5 s` */
export function amountText(seconds) {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = seconds % 60;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes > 0) return rest > 0 ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${rest} s`;
}

/**
 * What stands beside the used amount.
 *
 * @param {number} used seconds; below zero where more was credited by hand than is used
 * @param {number | null} limit seconds
 */
export function usedText(used, limit) {
  const of = limit === null ? "recorded" : `of ${amountText(limit)}`;
  return used < 0 ? `${of}, ${amountText(-used)} in credit` : of;
}

/** @param {number} count @param {string} unit */
export function countText(count, unit) {
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** @param {string} kind @param {number} value */
export function warningText(kind, value) {
  if (kind === "remaining_minutes") return `${countText(value, "minute")} of recording left this month.`;
  return `${value} % of this month’s recording time is used.`;
}

/** @param {{ kind: string, value: number }} warning @param {import("/client/types.js").Usage} usage @returns {boolean} whether it is still so */
export function stillHolds({ kind, value }, usage) {
  const { used_seconds: used, limit_seconds: limit, remaining_seconds: left } = usage;
  if (limit === null || left === null) return false;
  return kind === "remaining_minutes" ? left <= value * 60 : used * 100 >= value * limit;
}

export const LAST_MINUTE = "The last minute of this month’s recording time is running.";

/** @type {Record<string, string>} */
const STOPS = {
  limit_reached: "This month’s recording time is used up.",
  admin: "An administrator is ending this recording.",
  max_duration: "This recording has reached the longest time allowed.",
};

/** @param {string} reason */
export function stopTitle(reason) {
  return STOPS[reason] ?? "This recording has to end.";
}

/** @type {Record<string, string>} */
const ENDINGS = {
  stopped: "Finished",
  lost: "Ended: no connection for too long",
  limit_reached: "Ended: this month’s time is used up",
  max_duration: "Ended: longest time reached",
  admin: "Ended by an administrator",
  stopped_by_operator: "Ended by an administrator",
  session_ended: "Ended: the session was over already",
  taken_over: "Ended here: it goes on in another window",
  token_refused: "Ended: the token was refused",
  not_allowed: "Ended: not allowed",
  too_many_sessions: "Ended: too many recordings at once",
  unreachable: "No answer from the meter",
};

/** @param {string} reason */
export function endingText(reason) {
  return ENDINGS[reason] ?? "Ended by the meter";
}

/** @type {Record<string, string>} */
const PROBLEMS = {
  limit_reached: "This month’s recording time is used up. Ask your administrator for more, or wait for the next month.",
  too_many_sessions: "Too many recordings are going on in your account. Stop one of them first.",
  token_refused: "The token was refused. Paste a fresh one.",
  token_expired: "The token has expired. Paste a fresh one.",
  not_allowed: "This token may not record here.",
  taken_over: "This recording was taken over by another window.",
  session_ended: "The session was over already. What it counted stays.",
  unreachable: "The meter doesn’t answer. Check your connection and try again.",
  client_failed: "The meter’s client could not be loaded. Reload the page.",
  NotAllowedError: "The microphone is blocked. Allow it in the browser’s address bar and try again.",
  NotFoundError: "No microphone was found. Connect one and try again.",
  NotReadableError: "The microphone is in use by another program.",
};

/** @param {string} reason @param {string} [message] */
export function problemText(reason, message) {
  return PROBLEMS[reason] ?? `Recording isn’t possible: ${message || reason}`;
}

/** @param {number} left seconds @param {string} scope whose limit binds */
export function limitText(left, scope) {
  const whose = scope === "member" ? "Your own limit" : "Your organization’s limit";
  return `${left > 0 ? amountText(left) : "Nothing"} left. ${whose}`;
}

/** @param {number} seconds past the limit */
export function overageText(seconds) {
  return `Besides, ${amountText(seconds)} past the limit, billed as overage.`;
}

/**
 * A period's first and last day, of the calendar that it was made by: it starts and ends at midnight there.
 *
 * @param {number} start epoch seconds
 * @param {number} end epoch seconds
 */
export function periodText(start, end) {
  return dayFormat.formatRange(midnightInUtc(start) * 1000, (midnightInUtc(end) - 1) * 1000);
}

/** @param {string} day `2026-11-21` @returns {string} `November 21` */
export const dayText = (day) => dayFormat.format(new Date(day));

const dayFormat = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", timeZone: "UTC" });

const DAY_SECONDS = 86_400;
/** Clocks are at most 10 hours behind UTC where people record much, and 14 ahead. */
const MOST_BEHIND_SECONDS = 36_000;

/** The midnight in UTC of the day that begins somewhere. @param {number} midnight there, in epoch seconds */
function midnightInUtc(midnight) {
  const behind = midnight % DAY_SECONDS;
  return behind <= MOST_BEHIND_SECONDS ? midnight - behind : midnight - behind + DAY_SECONDS;
}
