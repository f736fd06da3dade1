/**
 * Shows the recorder's state in the page.
 *
 * @module
 */

import { element, fill, setText, showConnection } from "./page.js";
import { showUsage } from "./usage-card.js";
import { clockText, countText, stopTitle } from "./words.js";

/** @typedef {import("/client/minute-meter.js").Snapshot} Snapshot */
/** @typedef {"ready" | "opening" | "recording" | "paused" | "finishing" | "done"} Phase */

/** @type {Record<Phase, string>} */
const PHASES = {
  ready: "Ready to record",
  opening: "Getting ready …",
  recording: "Recording",
  paused: "Paused",
  finishing: "Finishing …",
  done: "Recorded",
};

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
  showConnection(snapshot.state, snapshot.retryAt);
  if (snapshot.usage !== null) showUsage(snapshot.usage);
}

/** @param {Snapshot} snapshot @param {number} held */
function safetyText({ state, recordedSeconds }, held) {
  if (recordedSeconds === 0) return "Every second is kept here until it is safe.";
  if (state === "ended") return "All that were counted are in Postgres within five seconds.";
  if (held === 0) return "Every second is safe.";
  return `${countText(held, "second")} kept here until ${held === 1 ? "it is" : "they are"} safe.`;
}

/** @param {string} reason @param {number} graceSeconds what is left of it */
export function showStop(reason, graceSeconds) {
  setText("stop-title", stopTitle(reason));
  setText("stop-text", "Nothing more is counted. Recording ends by itself, and your file is kept.");
  setText("stop-countdown", graceSeconds);
  element("stop-banner").hidden = false;
}

export function hideBanners() {
  for (const id of ["stop-banner", "problem-banner"]) element(id).hidden = true;
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
