/**
 * Watching an account, or all live sessions, from a browser.
 *
 * ```js
 * import { Watch } from "https://meter.example/client/watch.js";
 *
 * const watch = new Watch("/v1/usage", { token: () => fetchToken() });
 * watch.addEventListener("usage", ({ detail }) => show(detail.usage, detail.active_sessions));
 * watch.addEventListener("ended", ({ detail }) => explain(detail.reason));
 * watch.start();
 * ```
 *
 * It reconnects by itself, with full jitter, after any close but 4500–4999, at once when the network is back.
 *
 * @module
 */

import { SUBPROTOCOL } from "./codes.js";
import { monotonicSeconds, socketUrl } from "./socket.js";
import { Watching } from "./watching.js";

/** @typedef {import("./types.js").WatchState} WatchState */

/**
 * @typedef {object} WatchOptions
 * @property {string | (() => string | Promise<string>)} token a JWT, or what gets one: called for each
 *   connection, and before the last one expires
 * @property {string} [url] of the meter (`https:` or `wss:`); by default, where this module came from
 * @property {Record<string, unknown>} [fields] that go with `subscribe`: at `/v1/ops` the filter and the page
 */

const TICK_SECONDS = 1;

/**
 * One subscription.
 *
 * Events, each with its `detail`:
 *
 * | event | detail |
 * |---|---|
 * | `usage`, `sessions`, `warning`, `stop`, `stopped` | the server's message, as its documentation has it |
 * | `refused` | an `error` that isn't fatal: `code`, `message`, and at `/v1/ops` the `session_id` of a `stop` |
 * | `state` | `state` (`connecting`, `subscribed`: no answer yet, `connected`, `draining`, `waiting`, `away`, `ended`), `retryAt` |
 * | `ended` | `reason` (`token_refused`, `token_expired`, `not_allowed`, `closed`, …), `code`, `message`: it doesn't reconnect |
 */
export class Watch extends EventTarget {
  #watching;
  #token;
  #url;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #page = new AbortController();

  /**
   * @param {"/v1/usage" | "/v1/ops"} path
   * @param {WatchOptions} options
   */
  constructor(path, { token, url, fields }) {
    super();
    this.#watching = new Watching(fields);
    this.#token = token;
    this.#url = socketUrl(path, url);
  }

  /** @type {WatchState} */
  get state() {
    return this.#watching.state;
  }

  /** When the next try to connect is due, by `monotonicSeconds`; null without one. */
  get retryAt() {
    return this.#watching.retryAt;
  }

  /** Subscribe; once. */
  start() {
    if (this.state !== "idle") throw new DOMException("a Watch starts once", "InvalidStateError");
    this.#watchPage();
    this.#act(this.#watching.start(monotonicSeconds()));
  }

  /** Another filter or page (`/v1/ops`) from now on. @param {Record<string, unknown>} fields all of them */
  choose(fields) {
    this.#act(this.#watching.choose(fields));
  }

  /**
   * Say something else, such as `{ type: "stop", session_id }` at `/v1/ops`. Without a connection it isn't said.
   *
   * @param {Record<string, unknown>} message
   */
  send(message) {
    this.#act(this.#watching.say(message));
  }

  /** Watch no more. */
  close() {
    this.#act(this.#watching.close("closed"));
  }

  /** @param {import("./types.js").Effect[]} effects */
  #act(effects) {
    for (const effect of effects) {
      if (effect.do === "send") this.#socket?.send(JSON.stringify(effect.message));
      else if (effect.do === "open") this.#open();
      else if (effect.do === "drop") this.#drop();
      else if (effect.do === "token") void this.#authorize(effect.request);
      else this.#dispatch(effect.event, effect.detail);
    }
    this.#plan();
  }

  /** @param {string} event @param {any} detail */
  #dispatch(event, detail) {
    if (event === "ended") this.#page.abort();
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  #plan() {
    clearTimeout(this.#timer);
    if (this.state === "ended") return;
    const now = monotonicSeconds();
    const wait = Math.min(TICK_SECONDS, (this.#watching.due ?? Infinity) - now);
    const tick = () => this.#act(this.#watching.tick(monotonicSeconds()));
    this.#timer = setTimeout(tick, Math.max(0, wait) * 1000);
  }

  #open() {
    this.#drop();
    const opened = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = opened;
    opened.onopen = () => this.#act(this.#watching.opened(monotonicSeconds(), Date.now() / 1000));
    opened.onmessage = ({ data }) => this.#act(this.#watching.received(data, monotonicSeconds()));
    opened.onclose = ({ code, reason }) => {
      this.#socket = null;
      this.#act(this.#watching.closed(code, reason, monotonicSeconds()));
    };
  }

  #drop() {
    if (this.#socket === null) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  /** @param {number} request */
  async #authorize(request) {
    try {
      const token = typeof this.#token === "function" ? await this.#token() : this.#token;
      const now = monotonicSeconds();
      this.#act(this.#watching.authorized(request, token, now, Date.now() / 1000));
    } catch (error) {
      console.warn("minute-meter: no token", error);
      this.#act(this.#watching.unauthorized(request, monotonicSeconds()));
    }
  }

  /** A page that is left keeps no socket, so that the browser may keep the page. */
  #watchPage() {
    const { signal } = this.#page;
    const wake = (/** @type {boolean} */ networkChanged) =>
      this.#act(this.#watching.wake(monotonicSeconds(), networkChanged));
    addEventListener("pagehide", () => this.#act(this.#watching.leave()), { signal });
    addEventListener("pageshow", () => this.#act(this.#watching.comeBack(monotonicSeconds())), { signal });
    addEventListener("online", () => wake(true), { signal });
    document.addEventListener("resume", () => wake(true), { signal });
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && wake(false),
      { signal },
    );
  }
}
