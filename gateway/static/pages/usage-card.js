/**
 * The card that shows a period's usage, on the recorder's page and on `/usage`.
 *
 * @module
 */

import { element, fill, setText } from "./page.js";
import { amountText, limitText, overageText, periodText, usedText } from "./words.js";

/** @typedef {import("/client/types.js").Usage} Usage */
/** @typedef {"fine" | "near" | "over" | "unlimited"} Level */

/** @type {Record<Level, string>} */
const MARKS = { fine: "", near: "Near the limit", over: "Limit reached", unlimited: "" };

/** Near the limit: so little is left, or so much of it is used. */
const NEAR_SECONDS = 600;
const NEAR_SHARE = 0.9;
const nearFrom = (/** @type {number} */ limit) => Math.min(NEAR_SHARE * limit, limit - NEAR_SECONDS);

/** @param {Usage} usage @returns {Level} */
export function levelOf({ used_seconds: used, limit_seconds: limit, remaining_seconds: left }) {
  if (limit === null || left === null) return "unlimited";
  if (left <= 0) return "over";
  return used >= nearFrom(limit) ? "near" : "fine";
}

/** @param {Usage} usage */
export function showUsage(usage) {
  const { used_seconds: used, limit_seconds: limit, remaining_seconds: left } = usage;
  const level = levelOf(usage);
  element("usage").dataset.level = level;
  setText("usage-amount", amountText(Math.max(0, used)));
  setText("usage-of", usedText(used, limit));
  setText("usage-mark", MARKS[level]);
  element("usage-mark").hidden = MARKS[level] === "";
  const period = periodText(usage.period_start, usage.period_end);
  setText("usage-text", left === null ? `No limit. ${period}.` : `${limitText(left, usage.scope)}, ${period}.`);
  setText("usage-overage", overageText(usage.overage_seconds ?? 0));
  element("usage-overage").hidden = !usage.overage_seconds;
  element("usage-bar").hidden = limit === null;
  if (limit !== null) showBar(Math.max(0, used), limit, usedText(used, limit));
}

/** Nothing is known of the account. */
export function clearUsage() {
  element("usage").dataset.level = "unknown";
  setText("usage-amount", "–");
  for (const id of ["usage-of", "usage-text"]) setText(id, "");
  for (const id of ["usage-mark", "usage-bar", "usage-overage"]) element(id).hidden = true;
}

/** @param {number} used @param {number} limit @param {string} text of what it is */
function showBar(used, limit, text) {
  const share = limit > 0 ? used / limit : 1;
  fill("usage-fill", share);
  element("usage-bar").setAttribute("aria-valuenow", String(Math.min(100, Math.round(share * 100))));
  element("usage-bar").setAttribute("aria-valuetext", `${amountText(used)} ${text}`);
  const tick = element("usage-tick");
  tick.hidden = nearFrom(limit) <= 0;
  tick.style.left = `${(nearFrom(limit) / limit) * 100}%`;
}
