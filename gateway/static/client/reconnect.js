/**
 * A connection that is made anew when it is lost: where it is, when to try again, which token it goes by.
 * Pure: no socket, no timer, no clock. What is to be done is collected, in order, for the driver.
 *
 * @module
 */

import { TOKEN_RETRY_SECONDS, refreshDelay, retryDelay } from "./timing.js";

/** @typedef {import("./types.js").WatchState} WatchState */
/** @typedef {import("./types.js").Effect} Effect */

const HANDSHAKE_SECONDS = 10;

/** Something can be said on it. @type {ReadonlySet<WatchState>} */
const OPEN = new Set(["subscribed", "connected", "draining"]);

export class Connection {
  /** @type {Effect[]} */
  #effects = [];
  /** @type {WatchState} */
  #state = "idle";
  /** When something has to happen: a retry, the end of a handshake, the move off a draining gateway. @type {number | null} */
  #due = null;
  #random;
  #attempt = 0;
  #token = "";
  #tokenRequest = 0;
  /** @type {number | null} */
  #refreshAt = null;

  /** @param {() => number} random from 0 to 1 */
  constructor(random) {
    this.#random = random;
  }

  get state() {
    return this.#state;
  }

  /** When `advance` is to be called at the latest; null when its usual rhythm will do. */
  get due() {
    return this.#due;
  }

  /** When the next try to connect is due; null without one. */
  get retryAt() {
    return this.#state === "waiting" || this.#state === "draining" ? this.#due : null;
  }

  /** Whether it was begun and hasn't ended. */
  get live() {
    return this.#state !== "idle" && this.#state !== "ended";
  }

  /** Whether something can be said on it. */
  get open() {
    return OPEN.has(this.#state);
  }

  /** The present one; empty before the first. */
  get token() {
    return this.#token;
  }

  // --- coming and going ---

  /** Get a token, then open a socket. @param {number} now */
  connect(now) {
    this.enter("connecting", now + HANDSHAKE_SECONDS);
    this.#askToken(false);
  }

  /** @param {number} now */
  reconnect(now) {
    this.#drop();
    this.connect(now);
  }

  /** It is gone: try again after a while. @param {number} now */
  lost(now) {
    this.#drop();
    if (this.#state === "draining" && this.#due !== null) {
      this.enter("waiting", this.#due);
    } else if (this.#state !== "away") {
      this.enter("waiting", now + retryDelay(this.#attempt, this.#random()));
      this.#attempt += 1;
    }
  }

  /** It has proved good: the next loss is a first one. */
  proved() {
    this.#attempt = 0;
  }

  /** The page is being left: it may never come back. */
  leave() {
    if (!this.live) return;
    this.#drop();
    this.enter("away", null);
  }

  /**
   * It is over, once.
   *
   * @param {string} reason
   * @param {number} code
   * @param {string} message
   * @param {Record<string, unknown>} [more] of the event `ended`
   */
  end(reason, code, message, more = {}) {
    if (this.#state === "ended") return;
    this.#drop();
    this.enter("ended", null);
    this.emit("ended", { reason, code, message, ...more });
  }

  /** @param {WatchState} state @param {number | null} due */
  enter(state, due) {
    this.#due = due;
    if (this.#state === state && state !== "waiting") return;
    this.#state = state;
    this.emit("state", { state, retryAt: this.retryAt });
  }

  /** Time passes. Whether something was due; then it is done. @param {number} now */
  advance(now) {
    const due = this.#due !== null && now >= this.#due;
    if (due && this.#state === "connecting") this.lost(now);
    else if (due) this.reconnect(now);
    return due;
  }

  // --- its token ---

  /** Whether the answer to this request for a token is still waited for. @param {number} request */
  awaits(request) {
    return request === this.#tokenRequest && this.live;
  }

  /** The answer; true when it is another than before. @param {string} token */
  use(token) {
    const renewed = token !== this.#token;
    this.#token = token;
    return renewed;
  }

  /** There was no token to be had. @param {number} request @param {number} now */
  unauthorized(request, now) {
    if (!this.awaits(request)) return;
    if (this.#state === "connecting") this.lost(now);
    else if (this.open) this.#refreshAt = now + TOKEN_RETRY_SECONDS;
  }

  /**
   * Set when to fetch the next one.
   *
   * @param {number} now
   * @param {number} epoch the server's clock, as far as known
   * @param {boolean} renewed whether the present one is fresh
   * @param {number} [least] seconds until then
   */
  planRefresh(now, epoch, renewed, least = 0) {
    const delay = refreshDelay(this.#token, epoch, renewed);
    this.#refreshAt = delay === null ? null : now + Math.max(least, delay);
  }

  /** Fetch the next one when it is time for it. @param {number} now */
  refresh(now) {
    if (this.open && this.#refreshAt !== null && now >= this.#refreshAt) {
      this.#refreshAt = null;
      this.#askToken(true);
    }
  }

  // --- what the driver is to do ---

  /** Open a socket. */
  openSocket() {
    this.#effects.push({ do: "open" });
  }

  /** @param {Record<string, unknown>} message */
  send(message) {
    this.#effects.push({ do: "send", message });
  }

  /** @param {string} event @param {Record<string, unknown>} detail */
  emit(event, detail) {
    this.#effects.push({ do: "emit", event, detail });
  }

  /** All of it since the last call. */
  take() {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** @param {boolean} refresh */
  #askToken(refresh) {
    this.#tokenRequest += 1;
    this.#effects.push({ do: "token", request: this.#tokenRequest, refresh });
  }

  #drop() {
    this.#refreshAt = null;
    this.#effects.push({ do: "drop" });
  }
}
