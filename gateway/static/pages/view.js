/**
 * Shows the recorder's state in the page.
 *
 * @module
 */

import { monotonicSeconds } from "/client/minute-meter.js";
import { amountText, clockText, countText, endingText, periodText, stopTitle, warningText } from "./words.js";

/** @typedef {import("/client/minute-meter.js").Snapshot} Snapshot */
/** @typedef {import("/client/minute-meter.js").Usage} Usage */
/** @typedef {"ready" | "opening" | "recording" | "paused" | "finishing" | "done"} Phase */

/** @type {Record<string, string>} */
const MARKS = { fine: "", near: "Near the limit", over: "Limit reached" };

/** Near the limit: so little is left, or so much of it is used. */
const NEAR_SECONDS = 600;
const NEAR_SHARE = 0.9;
const nearFrom = (/** @type {number} */ limit) => Math.min(NEAR_SHARE * limit, limit - NEAR_SECONDS);

/** @type {Record<Phase, string>} */
const PHASES = {
  ready: "Ready to record",
  opening: "Getting ready …",
  recording: "Recording",
  paused: "Paused",
  finishing: "Finishing …",
  done: "Recorded",
};

/** @type {Record<string, string>} */
const CONNECTIONS = {
  idle: "Not connected",
  connecting: "Connecting …",
  connected: "Connected",
  draining: "Moving to another gateway …",
  waiting: "Reconnecting",
  away: "Asleep",
};

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/** @param {string} id @param {string | number} text */
function setText(id, text) {
  const target = element(id);
  if (target.textContent !== String(text)) target.textContent = String(text);
}

/** @param {string} id @param {number} share from 0 to 1 */
function fill(id, share) {
  element(id).style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
}

/** @param {Phase} phase */
export function showPhase(phase) {
  element("stage").dataset.phase = phase;
  setText("phase", PHASES[phase]);
  const going = phase === "recording" || phase === "paused";
  element("record").disabled = going || phase === "opening" || phase === "finishing";
  element("pause").disabled = !going;
  element("stop").disabled = !going;
  setText("pause-label", phase === "paused" ? "Resume" : "Pause");
  const glyph = element("pause").querySelector(".glyph").classList;
  glyph.toggle("pause", phase !== "paused");
  glyph.toggle("resume", phase === "paused");
}

/** @param {Snapshot} snapshot */
export function showSnapshot(snapshot) {
  const { sessionSeconds, durableSeconds, heldSeconds } = snapshot;
  setText("session-time", clockText(snapshot.recordedSeconds));
  setText("seconds-counted", sessionSeconds);
  setText("seconds-safe", durableSeconds);
  fill("safety-fill", sessionSeconds > 0 ? durableSeconds / sessionSeconds : 0);
  setText("safety-text", safetyText(snapshot, heldSeconds));
  showConnection(snapshot);
  if (snapshot.usage !== null) showUsage(snapshot.usage);
}

/** @param {Snapshot} snapshot @param {number} held */
function safetyText({ state, recordedSeconds }, held) {
  if (recordedSeconds === 0) return "Every second is kept here until it is safe.";
  if (state === "ended") return "All that were counted are in Postgres within five seconds.";
  if (held === 0) return "Every second is safe.";
  return `${countText(held, "second")} kept here until ${held === 1 ? "it is" : "they are"} safe.`;
}

/** @param {Snapshot} snapshot */
export function showConnection({ state, retryAt }) {
  if (state === "ended") return;
  const wait = retryAt === null ? 0 : Math.max(0, Math.ceil(retryAt - monotonicSeconds()));
  element("connection").dataset.state = state;
  setText("connection-text", CONNECTIONS[state]);
  setText("connection-wait", `in ${wait} s`);
  element("connection-wait").hidden = state !== "waiting";
}

/** @param {string} reason */
export function showEnding(reason) {
  element("connection").dataset.state = "ended";
  element("connection").dataset.reason = reason;
  setText("connection-text", endingText(reason));
  element("connection-wait").hidden = true;
}

/** @param {Usage} usage */
function showUsage(usage) {
  const { used_seconds: used, limit_seconds: limit, remaining_seconds: left } = usage;
  const card = element("usage");
  setText("usage-amount", amountText(used));
  const period = periodText(usage.period_start, usage.period_end);
  element("usage-bar").hidden = limit === null;
  if (limit === null || left === null) {
    card.dataset.level = "unlimited";
    element("usage-mark").hidden = true;
    setText("usage-of", "recorded");
    setText("usage-text", `No limit. ${period}.`);
    return;
  }
  const level = left <= 0 ? "over" : used >= nearFrom(limit) ? "near" : "fine";
  card.dataset.level = level;
  setText("usage-of", `of ${amountText(limit)}`);
  element("usage-mark").hidden = level === "fine";
  setText("usage-mark", MARKS[level]);
  showUsageBar(used, limit);
  const whose = usage.scope === "member" ? "Your own limit" : "Your organization’s limit";
  setText("usage-text", `${left > 0 ? amountText(left) : "Nothing"} left. ${whose}, ${period}.`);
}

/** @param {number} used @param {number} limit */
function showUsageBar(used, limit) {
  const share = limit > 0 ? used / limit : 1;
  fill("usage-fill", share);
  element("usage-bar").setAttribute("aria-valuenow", String(Math.min(100, Math.round(share * 100))));
  element("usage-bar").setAttribute("aria-valuetext", `${amountText(used)} of ${amountText(limit)}`);
  const tick = element("usage-tick");
  tick.hidden = nearFrom(limit) <= 0;
  tick.style.left = `${(nearFrom(limit) / limit) * 100}%`;
}

/** @param {{ kind: string, value: number }} warning */
export function showWarning({ kind, value }) {
  setText("warning-text", warningText(kind, value));
  element("warning-banner").hidden = false;
}

/** @param {string} reason @param {number} graceSeconds what is left of it */
export function showStop(reason, graceSeconds) {
  setText("stop-title", stopTitle(reason));
  setText("stop-text", "Nothing more is counted. Recording ends by itself, and your file is kept.");
  setText("stop-countdown", graceSeconds);
  element("stop-banner").hidden = false;
}

/** @param {string} text empty to hide it */
export function showProblem(text) {
  setText("problem-text", text);
  element("problem-banner").hidden = text === "";
}

export function hideBanners() {
  for (const id of ["warning-banner", "stop-banner", "problem-banner"]) element(id).hidden = true;
}

/** @param {boolean} needed */
export function showTokenForm(needed) {
  element("token-form").hidden = !needed;
  if (needed) element("record").disabled = true;
}

/** @param {string} url @param {string} name */
export function showResult(url, name) {
  element("playback").src = url;
  element("download").href = url;
  element("download").download = name;
  element("result").hidden = false;
}

export function hideResult() {
  element("result").hidden = true;
  element("playback").removeAttribute("src");
}
