/**
 * The page `/recorder`: records the microphone, and counts with Minute Meter's browser client.
 *
 * @module
 */

import { MeterError, Recorder, monotonicSeconds } from "/client/minute-meter.js";
import { LevelMeter } from "./level.js";
import { TokenForm, element, showConnection, showEnding, showProblem } from "./page.js";
import * as view from "./view.js";
import { WarningBanner } from "./warning-banner.js";
import { endingText, problemText } from "./words.js";

const TOKEN_REASONS = new Set(["token_refused", "token_expired", "not_allowed"]);

const tokens = new TokenForm((typed) => {
  if (take?.going) return;
  showProblem("");
  view.showPhase("ready");
  if (typed) element("record").focus();
});
/** @type {Take | null} */
let take = null;
const level = new LevelMeter(element("level"));
const warnings = new WarningBanner();

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
    this.meter = new Recorder({ token: () => tokens.value, kind: "recording" });
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
    showConnection(this.meter.snapshot.state, this.meter.snapshot.retryAt);
    if (this.#grace === null) {
      const { usage, recordedSeconds } = this.meter.snapshot;
      warnings.refresh(usage, this.going ? recordedSeconds : null);
      return;
    }
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
    this.#on("warning", (warning) => {
      warnings.warn(warning);
      this.refresh();
    });
    this.#on("stop", ({ reason, graceSeconds }) => {
      this.#grace = { at: monotonicSeconds() + graceSeconds, reason };
      warnings.forget();
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
    showEnding(reason, endingText(reason));
    element("stop-banner").hidden = true;
    if (reason !== "stopped" && this.phase !== "opening") {
      showProblem(problemText(reason, message));
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
  warnings.forget();
  view.hideBanners();
  view.hideResult();
  view.showPhase("opening");
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    take = new Take(stream);
    await take.start();
  } catch (error) {
    const { reason, message } = describe(error);
    showProblem(problemText(reason, message));
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

function askForToken() {
  tokens.ask();
  element("record").disabled = true;
}

/** @param {Date} at @param {string} type */
function fileName(at, type) {
  const stamp = at.toISOString().slice(0, 16).replace("T", "-").replace(":", "");
  return `recording-${stamp}.${type.includes("mp4") ? "m4a" : "webm"}`;
}

element("record").addEventListener("click", () => void record());
element("pause").addEventListener("click", () => take?.togglePause());
element("stop").addEventListener("click", () => take?.finish());
addEventListener("beforeunload", (event) => {
  if (take?.going) event.preventDefault();
});
setInterval(() => take?.refresh(), 250);
if (tokens.value === "") askForToken();
