/**
 * The page `/recorder`: records the microphone, and counts with Minute Meter's browser client.
 *
 * @module
 */

import { MeterError, Recorder, monotonicSeconds } from "/client/minute-meter.js";
import { LevelMeter } from "./level.js";
import * as view from "./view.js";
import { problemText } from "./words.js";

const { element } = view;
const TOKEN_REASONS = new Set(["token_refused", "token_expired", "not_allowed"]);

let token = takeTokenFromAddress();
/** @type {Take | null} */
let take = null;
const level = new LevelMeter(element("level"));

/** One recording: a microphone, a MediaRecorder and a meter. */
class Take {
  /** @type {import("./view.js").Phase} */
  phase = "opening";
  /** @type {Blob[]} */
  #chunks = [];
  #startedAt = new Date();
  /** When the grace after a `stop` is over, and why. @type {{ at: number, reason: string } | null} */
  #grace = null;

  /** @param {MediaStream} stream */
  constructor(stream) {
    this.stream = stream;
    this.media = new MediaRecorder(stream);
    this.meter = new Recorder({ token: () => token, kind: "recording" });
    this.meter.attach(this.media);
    this.#followMedia();
    this.#followMeter();
  }

  async start() {
    this.#enter("opening");
    try {
      await this.meter.start();
      this.#startedAt = new Date();
      this.media.start(1000);
      level.listen(this.stream, () => this.phase === "recording");
    } catch (error) {
      this.#release();
      this.#enter("ready");
      throw error;
    }
  }

  togglePause() {
    if (this.media.state === "recording") this.media.pause();
    else if (this.media.state === "paused") this.media.resume();
  }

  finish() {
    if (this.media.state !== "inactive") this.media.stop();
  }

  get going() {
    return this.phase === "recording" || this.phase === "paused";
  }

  /** Several times a second: countdowns. */
  refresh() {
    view.showConnection(this.meter.snapshot);
    if (this.#grace === null) return;
    const left = Math.ceil(this.#grace.at - monotonicSeconds());
    view.showStop(this.#grace.reason, Math.max(0, left));
    if (left <= 0) this.finish();
  }

  #followMedia() {
    const { media } = this;
    media.addEventListener("dataavailable", ({ data }) => this.#chunks.push(data));
    media.addEventListener("start", () => this.#enter("recording"));
    media.addEventListener("resume", () => this.#enter("recording"));
    media.addEventListener("pause", () => this.#enter("paused"));
    media.addEventListener("stop", () => this.#stopped());
  }

  #followMeter() {
    this.#on("tick", (snapshot) => view.showSnapshot(snapshot));
    this.#on("warning", (warning) => view.showWarning(warning));
    this.#on("stop", ({ reason, graceSeconds }) => {
      this.#grace = { at: monotonicSeconds() + graceSeconds, reason };
      element("warning-banner").hidden = true;
      this.refresh();
    });
    this.#on("ended", ({ reason, message }) => this.#ended(reason, message));
  }

  /** @param {string} event @param {(detail: any) => void} act */
  #on(event, act) {
    this.meter.addEventListener(event, (/** @type {any} */ { detail }) => act(detail));
  }

  #stopped() {
    this.#release();
    if (this.going) this.#enter("finishing");
    const blob = new Blob(this.#chunks, { type: this.media.mimeType });
    view.showResult(URL.createObjectURL(blob), fileName(this.#startedAt, blob.type));
    if (this.meter.snapshot.state === "ended") this.#enter("done");
  }

  /** @param {string} reason @param {string} message */
  #ended(reason, message) {
    this.#grace = null;
    view.showEnding(reason);
    element("stop-banner").hidden = true;
    if (reason !== "stopped" && this.phase !== "opening") {
      view.showProblem(problemText(reason, message));
    }
    if (this.media.state !== "inactive") this.finish();
    else if (this.phase === "finishing") this.#enter("done");
  }

  #release() {
    for (const track of this.stream.getTracks()) track.stop();
    level.close();
  }

  /** @param {import("./view.js").Phase} phase */
  #enter(phase) {
    this.phase = phase;
    view.showPhase(phase);
    level.draw();
  }
}

async function record() {
  view.hideBanners();
  view.hideResult();
  view.showPhase("opening");
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    take = new Take(stream);
    await take.start();
  } catch (error) {
    const { reason, message } = describe(error);
    view.showProblem(problemText(reason, message));
    view.showPhase("ready");
    if (TOKEN_REASONS.has(reason)) askForToken();
  }
}

/** @param {unknown} error */
function describe(error) {
  if (error instanceof MeterError) return { reason: error.reason, message: error.message };
  if (error instanceof Error || error instanceof DOMException) {
    return { reason: error.name, message: error.message };
  }
  return { reason: "unknown", message: String(error) };
}

/** A token in the fragment never reaches a server, and leaves the address bar at once. */
function takeTokenFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const found = fragment.get("token") ?? "";
  if (found !== "") history.replaceState(null, "", location.pathname + location.search);
  return found;
}

function askForToken() {
  token = "";
  view.showTokenForm(true);
  element("token").focus();
}

/** @param {Date} at @param {string} type */
function fileName(at, type) {
  const stamp = at.toISOString().slice(0, 16).replace("T", "-").replace(":", "");
  return `recording-${stamp}.${type.includes("mp4") ? "m4a" : "webm"}`;
}

element("record").addEventListener("click", () => void record());
element("pause").addEventListener("click", () => take?.togglePause());
element("stop").addEventListener("click", () => take?.finish());
element("warning-dismiss").addEventListener("click", () => {
  element("warning-banner").hidden = true;
});
element("token-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  token = element("token").value.trim();
  element("token").value = "";
  view.showTokenForm(false);
  view.showProblem("");
  view.showPhase("ready");
  element("record").focus();
});
addEventListener("hashchange", () => {
  const found = takeTokenFromAddress();
  if (found === "") return;
  token = found;
  view.showTokenForm(false);
  if (!take?.going) view.showPhase("ready");
});
addEventListener("beforeunload", (event) => {
  if (take?.going) event.preventDefault();
});
setInterval(() => take?.refresh(), 250);
if (token === "") askForToken();
