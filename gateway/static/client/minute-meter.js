/**
 * Minute Meter in the browser: counts the seconds that a page records.
 *
 * ```js
 * import { Recorder } from "https://meter.example/client/minute-meter.js";
 *
 * const meter = new Recorder({ token: () => fetchToken() });
 * meter.addEventListener("warning", ({ detail }) => show(`${detail.value} minutes left`));
 * meter.addEventListener("stop", ({ detail }) => finishWithin(detail.graceSeconds));
 *
 * const recorder = new MediaRecorder(stream);
 * meter.attach(recorder);   // counts while this records
 * await meter.start();      // refused when no minutes are left
 * recorder.start();
 * ```
 *
 * Without a MediaRecorder, leave `attach` out: counting begins at `start()`, and follows `pause()`,
 * `resume()` and `stop()`.
 *
 * A second counts when at least half of it was recorded, so that a recording of n seconds counts n. Each
 * second is kept, and sent again over new connections, until the server says that
 * it is durable. Nothing is counted while the machine sleeps or the page is frozen.
 *
 * @module
 */

import { monotonicSeconds, socketUrl } from "./socket.js";

export { monotonicSeconds };

/** @typedef {import("./types.js").Snapshot} Snapshot */
/** @typedef {import("./types.js").Usage} Usage */
/** @typedef {import("./types.js").State} State */

/**
 * @typedef {object} RecorderOptions
 * @property {string | (() => string | Promise<string>)} token a JWT, or what gets one: called for each
 *   connection, and before the last one expires
 * @property {string} [url] of the meter (`https:` or `wss:`); by default, where this module came from
 * @property {string} [kind] `recording`, `interview`, …
 * @property {Record<string, unknown>} [metadata] kept with the session
 * @property {string} [sessionId] a UUID; give that of an earlier session to go on with it
 * @property {number} [startTimeoutSeconds] how long `start()` may take (15)
 */

/**
 * @typedef {object} Ending
 * @property {string} reason `stopped`, `limit_reached`, `admin`, `max_duration`, `session_ended`, `taken_over`,
 *   `stopped_by_operator`, `token_refused`, `not_allowed`, `too_many_sessions`, `unreachable`, `closed`, …
 * @property {number} code the close code
 * @property {string} message
 * @property {number} sessionSeconds seconds counted
 */

/** Why a session could not start, or is over: `reason` is for programs, `message` for people. */
export class MeterError extends Error {
  /** @param {string} reason @param {string} message @param {number} code */
  constructor(reason, message, code) {
    super(message || reason);
    this.name = "MeterError";
    this.reason = reason;
    this.code = code;
  }
}

/**
 * One recording session.
 *
 * Events, each with its `detail`:
 *
 * | event | detail |
 * |---|---|
 * | `started` | `sessionId`, `origin`, `resumed`: connected, first or again |
 * | `state` | `state` (`connecting`, `connected`, `draining`, `waiting`, `away`, `ended`), `retryAt` |
 * | `tick` | a `Snapshot`, about once a second |
 * | `ack` | `countedThrough`, `durableThrough`, `sessionSeconds` |
 * | `usage` | `usage` |
 * | `warning` | `kind` (`remaining_minutes`, `percent`), `value`, `usage` |
 * | `stop` | `reason`, `lastSecond`, `graceSeconds`: nothing more is counted, finish recording |
 * | `refused` | `code`, `message`: seconds, or a token, that the server didn't take |
 * | `ended` | `reason`, `code`, `message`, `sessionSeconds` |
 */
export class Recorder extends EventTarget {
  #options;
  /** @type {Worker | null} */
  #worker = null;
  /** @type {Snapshot} */
  #snapshot;
  /** @type {(() => void)[]} */
  #cleanups = [];
  #follows = false;
  /** What was asked for before `start()`. @type {boolean | null} */
  #wanted = null;
  /** @type {Promise<Ending>} */
  #ended;
  /** @type {(ending: Ending) => void} */
  #resolveEnded = () => {};

  /** @param {RecorderOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#snapshot = emptySnapshot(options.sessionId ?? newSessionId());
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  /** Everything known about the session now. @type {Snapshot} */
  get snapshot() {
    return this.#snapshot;
  }

  /** @type {string} */
  get sessionId() {
    return this.#snapshot.sessionId;
  }

  /**
   * Open the session; counting begins, unless it follows a MediaRecorder.
   *
   * @returns {Promise<Snapshot>}
   * @throws {MeterError} when it is refused (`limit_reached`, `token_refused`, `too_many_sessions`, …) or
   *   the meter can't be reached in time (`unreachable`)
   */
  async start() {
    if (this.#worker !== null || this.#snapshot.state === "ended") {
      throw new DOMException("a Recorder starts once", "InvalidStateError");
    }
    const { kind, metadata, startTimeoutSeconds = 15 } = this.#options;
    this.#worker = startWorker();
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (error) => this.#endHere("client_failed", error.message);
    this.#watchPage();
    const opening = new Promise((resolve, reject) => {
      this.addEventListener("started", () => resolve(this.#snapshot), { once: true });
      this.addEventListener("ended", (event) => reject(errorFrom(event)), { once: true });
    });
    const sessionOptions = { sessionId: this.sessionId, kind, metadata };
    this.#call("start", { url: socketUrl("/v1/record", this.#options.url), options: sessionOptions });
    if (this.#wanted ?? !this.#follows) this.#call("record");
    const message = `the meter did not answer within ${startTimeoutSeconds} seconds`;
    const timeout = setTimeout(
      () => this.#call("abandon", { reason: "unreachable", message }),
      startTimeoutSeconds * 1000,
    );
    return opening.finally(() => clearTimeout(timeout));
  }

  /** Count from now on. */
  resume() {
    this.#wanted = true;
    this.#call("record");
  }

  /** Count nothing until `resume()`. */
  pause() {
    this.#wanted = false;
    this.#call("pause");
  }

  /**
   * End the session. What was recorded reaches the server first, over a new connection if need be.
   *
   * @returns {Promise<Ending>}
   */
  stop() {
    this.#endEarly("stopped");
    this.#call("stop");
    return this.#ended;
  }

  /** Give up at once. The server ends the session by itself after a minute; what it counted stays. */
  close() {
    this.#endEarly("closed");
    this.#call("abandon", { reason: "closed", message: "" });
  }

  /** Resolves when the session is over, with the detail of the event `ended`. @type {Promise<Ending>} */
  get ended() {
    return this.#ended;
  }

  /**
   * Count while a MediaRecorder records: follows its start, pause, resume and stop.
   *
   * @param {MediaRecorder} mediaRecorder
   * @param {{ endWithIt?: boolean }} [options] `endWithIt: false` keeps the session when it stops, for
   *   another to be attached
   * @returns {() => void} stops following
   */
  attach(mediaRecorder, { endWithIt = true } = {}) {
    this.#follows = true;
    const following = new AbortController();
    const on = (/** @type {string} */ event, /** @type {() => void} */ act) =>
      mediaRecorder.addEventListener(event, act, { signal: following.signal });
    on("start", () => this.resume());
    on("resume", () => this.resume());
    on("pause", () => this.pause());
    on("stop", () => (endWithIt ? void this.stop() : this.pause()));
    if (mediaRecorder.state === "recording") this.resume();
    this.#cleanups.push(() => following.abort());
    return () => following.abort();
  }

  /** @param {string} call @param {object} [more] */
  #call(call, more = {}) {
    this.#worker?.postMessage({ call, at: monotonicSeconds(), ...more });
  }

  /** @param {any} data */
  #hear(data) {
    if (data.tokenRequest !== undefined) {
      void this.#authorize(data.tokenRequest);
      return;
    }
    this.#snapshot = data.snapshot;
    for (const { event, detail } of data.events) this.#dispatch(event, detail);
    this.#dispatch("tick", this.#snapshot);
  }

  /** @param {string} event @param {any} detail */
  #dispatch(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
    if (event === "ended") this.#finish(detail);
  }

  /** @param {any} detail */
  #finish(detail) {
    for (const cleanup of this.#cleanups) cleanup();
    this.#worker?.terminate();
    this.#worker = null;
    this.#resolveEnded(detail);
  }

  /** Over without the worker's say. @param {string} reason @param {string} message */
  #endHere(reason, message) {
    const { sessionSeconds } = this.#snapshot;
    this.#snapshot = { ...this.#snapshot, state: "ended", recording: false };
    this.#dispatch("state", { state: "ended", retryAt: null });
    this.#dispatch("ended", { reason, code: 0, message, sessionSeconds });
  }

  /** Over before it began. @param {string} reason */
  #endEarly(reason) {
    if (this.#snapshot.state === "idle" && this.#worker === null) this.#endHere(reason, "");
  }

  /** @param {number} request */
  async #authorize(request) {
    const { token } = this.#options;
    try {
      const answer = typeof token === "function" ? await token() : token;
      this.#call("authorized", { request, token: answer });
    } catch (error) {
      console.warn("minute-meter: no token", error);
      this.#call("unauthorized", { request });
    }
  }

  /** A page that is left or frozen keeps a socket that is silent; one that is back may find it dead. */
  #watchPage() {
    const watching = new AbortController();
    const { signal } = watching;
    const leave = () => this.#call("leave");
    const comeBack = () => this.#call("comeBack");
    addEventListener("pagehide", leave, { signal });
    addEventListener("pageshow", comeBack, { signal });
    addEventListener("online", () => this.#call("wake", { networkChanged: true }), { signal });
    document.addEventListener("freeze", leave, { signal });
    document.addEventListener("resume", comeBack, { signal });
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.#call("wake", { networkChanged: false }),
      { signal },
    );
    this.#cleanups.push(() => watching.abort());
  }
}

/** Workers are of the page's own origin only; from another, a small one of the page imports ours. */
function startWorker() {
  const url = new URL("./minute-meter.worker.js", import.meta.url);
  if (url.origin === location.origin) return new Worker(url, { type: "module" });
  const source = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
  const address = URL.createObjectURL(source);
  const worker = new Worker(address, { type: "module" });
  worker.addEventListener("message", () => URL.revokeObjectURL(address), { once: true });
  return worker;
}

/** `crypto.randomUUID` is for secure contexts only. */
function newSessionId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** @param {Event} event */
function errorFrom(event) {
  const { reason, message, code } = /** @type {CustomEvent} */ (event).detail;
  return new MeterError(reason, message, code);
}

/** @param {string} sessionId @returns {Snapshot} */
function emptySnapshot(sessionId) {
  return {
    state: "idle",
    recording: false,
    sessionId,
    recordedSeconds: 0,
    sessionSeconds: 0,
    durableSeconds: 0,
    heldSeconds: 0,
    countedThrough: -1,
    durableThrough: -1,
    retryAt: null,
    usage: null,
  };
}
