/**
 * What the pages `/usage` and `/ops` share: a subscription that follows the page's token, and the
 * figure of live sessions with its history.
 *
 * @module
 */

import { monotonicSeconds } from "/client/socket.js";
import { Watch } from "/client/watch.js";
import { TokenForm, setText, showConnection, showEnding, showProblem } from "./page.js";
import { History, showTrend } from "./trend.js";
import { count, watchEndingText, watchProblemText } from "./watch-words.js";

/** Endings after which another token may do better. */
const TOKEN_REASONS = new Set(["token_refused", "token_expired", "not_allowed"]);
const REFRESH_MS = 250;

/**
 * @typedef {object} Subscription
 * @property {"/v1/usage" | "/v1/ops"} path
 * @property {string} scope that a token needs
 * @property {Record<string, (message: any) => void>} hear what to do with the server's messages
 * @property {() => Record<string, unknown>} [fields] that go with `subscribe`
 * @property {() => void} [connected] there is a first answer, or one again
 * @property {() => void} [changed] there is another token: what was shown may be of another account
 */

export class WatchingPage {
  #subscription;
  #tokens;
  /** @type {Watch | null} */
  #watch = null;
  #live = new History();

  /** @param {Subscription} subscription */
  constructor(subscription) {
    this.#subscription = subscription;
    this.#tokens = new TokenForm(() => {
      this.#leave();
      this.forgetLive();
      subscription.changed?.();
      this.#begin();
    });
    setInterval(() => this.#refresh(), REFRESH_MS);
    if (this.#tokens.value === "") this.#tokens.ask();
    else this.#begin();
  }

  /** The token of now, or none. */
  get token() {
    return this.#tokens.value;
  }

  /** Another filter or page. @param {Record<string, unknown>} fields */
  choose(fields) {
    this.#watch?.choose(fields);
  }

  /** @param {Record<string, unknown>} message */
  send(message) {
    this.#watch?.send(message);
  }

  /** @param {number} sessions live ones */
  showLive(sessions) {
    this.#live.add(monotonicSeconds(), sessions);
    setText("live-count", count(sessions));
    setText("live-unit", sessions === 1 ? "session" : "sessions");
    this.#draw();
  }

  /** What was told before is of something else. */
  forgetLive() {
    this.#live.forget();
    setText("live-count", "–");
    setText("live-unit", "");
  }

  #leave() {
    const watch = this.#watch;
    this.#watch = null;
    watch?.close();
  }

  #begin() {
    showProblem("");
    const { path, hear, fields } = this.#subscription;
    const watch = new Watch(path, { token: () => this.#tokens.value, fields: fields?.() });
    this.#watch = watch;
    const on = (/** @type {string} */ event, /** @type {(detail: any) => void} */ act) =>
      watch.addEventListener(event, (/** @type {any} */ { detail }) => watch === this.#watch && act(detail));
    for (const [type, act] of Object.entries(hear)) on(type, act);
    on("state", ({ state }) => this.#entered(state));
    on("ended", ({ reason, message }) => this.#ended(reason, message));
    watch.start();
  }

  /** @param {string} state */
  #entered(state) {
    const known = state === "connected" || state === "draining";
    document.body.dataset.known = String(known);
    if (!known) this.#live.add(monotonicSeconds(), null);
    if (state === "connected") this.#subscription.connected?.();
    this.#refresh();
  }

  /** @param {string} reason @param {string} message */
  #ended(reason, message) {
    showEnding(reason, watchEndingText(reason));
    showProblem(watchProblemText(reason, message, this.#subscription.scope));
    if (TOKEN_REASONS.has(reason)) this.#tokens.ask();
  }

  #refresh() {
    if (this.#watch !== null) showConnection(this.#watch.state, this.#watch.retryAt);
    this.#draw();
  }

  #draw() {
    showTrend(this.#live, monotonicSeconds());
  }
}
