/**
 * The connection of somebody who watches (`/v1/usage`, `/v1/ops`) as a state machine. Pure: no socket,
 * no timer, no clock. Each input returns what is to be done about it, in order; `watch.js` is its driver.
 *
 * Every message says how things are now, so after a reconnect nothing has to be caught up with.
 *
 * @module
 */

import { CLOSE_NAMES, isFinal } from "./codes.js";
import { TOKEN_RETRY_SECONDS, parse, refreshDelay, retryDelay } from "./timing.js";

/** @typedef {import("./types.js").WatchState} WatchState */
/** @typedef {import("./types.js").Effect} Effect */

const HANDSHAKE_SECONDS = 10;

/** What the server says when nothing goes wrong. */
const STATES = new Set(["usage", "sessions"]);
const NEWS = new Set(["warning", "stop", "stopped"]);

/**
 * A server says nothing while nothing changes, so silence proves little. Where one message came this
 * soon after another, the next one is missed after a while; else a connection is renewed now and then.
 */
const BRISK_SECONDS = 5;
const BRISK_SILENCE_SECONDS = 15;
const SILENCE_SECONDS = 300;

export class Watching {
  /** @type {Effect[]} */
  #effects = [];
  /** @type {WatchState} */
  #state = "idle";
  /** Goes with `subscribe`. @type {Record<string, unknown>} */
  #fields;
  #random;

  #token = "";
  #tokenRequest = 0;
  /** The token that the server called expired: there is no use in sending it again. */
  #expired = "";
  #attempt = 0;
  /** Whether `subscribe` was sent on this connection. */
  #said = false;
  #heard = 0;
  #brisk = false;
  /** When something has to happen: a retry, the end of a handshake, the move off a draining gateway. @type {number | null} */
  #due = null;
  /** @type {number | null} */
  #refreshAt = null;
  /** Last words of the server before it closed. @type {{ code: string, message: string } | null} */
  #fatal = null;

  /**
   * @param {Record<string, unknown>} [fields] of `subscribe`
   * @param {() => number} [random]
   */
  constructor(fields = {}, random = Math.random) {
    this.#fields = fields;
    this.#random = random;
  }

  /** When `tick` is to be called at the latest; null when its usual rhythm will do. */
  get due() {
    return this.#due;
  }

  get state() {
    return this.#state;
  }

  /** When the next try to connect is due; null without one. */
  get retryAt() {
    return this.#state === "waiting" || this.#state === "draining" ? this.#due : null;
  }

  // --- what the application does ---

  /** @param {number} now */
  start(now) {
    this.#connect(now);
    return this.#take();
  }

  /** Watch something else from now on. @param {Record<string, unknown>} fields of `subscribe` */
  choose(fields) {
    this.#fields = fields;
    if (this.#said) this.#send({ type: "subscribe", ...fields });
    return this.#take();
  }

  /** Say something; without a connection it is not said. @param {Record<string, unknown>} message */
  say(message) {
    if (this.#said) this.#send(message);
    return this.#take();
  }

  /** Watch no more. @param {string} reason */
  close(reason) {
    this.#end(reason, 1000, "");
    return this.#take();
  }

  /** The page is being left: it may never come back. */
  leave() {
    if (this.#live) {
      this.#drop();
      this.#enter("away", null);
    }
    return this.#take();
  }

  /** The page is back. @param {number} now */
  comeBack(now) {
    if (this.#state === "away") this.#connect(now);
    return this.#take();
  }

  /**
   * There may be a network again, or a user before the screen: no reason to wait on.
   *
   * @param {number} now
   * @param {boolean} networkChanged
   */
  wake(now, networkChanged) {
    if (this.#state === "waiting") this.#connect(now);
    else if (this.#said && (networkChanged || this.#silent(now))) this.#reconnect(now);
    return this.#take();
  }

  // --- what the driver reports ---

  /**
   * The answer to `token`.
   *
   * @param {number} request
   * @param {string} token
   * @param {number} now
   * @param {number} wall the clock of the day
   */
  authorized(request, token, now, wall) {
    if (request !== this.#tokenRequest || !this.#live) return this.#take();
    const renewed = token !== this.#token;
    this.#token = token;
    if (this.#state === "connecting") {
      if (token === this.#expired) this.#end("token_expired", 4001, "");
      else this.#effects.push({ do: "open" });
    } else if (this.#said) {
      if (renewed) this.#send({ type: "refresh", token });
      this.#planRefresh(now, wall, renewed);
    }
    return this.#take();
  }

  /** There was no token to be had. @param {number} request @param {number} now */
  unauthorized(request, now) {
    if (request !== this.#tokenRequest) return this.#take();
    if (this.#state === "connecting") this.#lost(now);
    else if (this.#said) this.#refreshAt = now + TOKEN_RETRY_SECONDS;
    return this.#take();
  }

  /** The socket is open. @param {number} now @param {number} wall the clock of the day */
  opened(now, wall) {
    this.#fatal = null;
    this.#said = true;
    this.#heard = now;
    this.#brisk = false;
    this.#send({ type: "subscribe", token: this.#token, ...this.#fields });
    this.#enter("subscribed", null);
    this.#planRefresh(now, wall, true);
    return this.#take();
  }

  /** A text frame came. @param {string} text @param {number} now */
  received(text, now) {
    const message = parse(text);
    if (STATES.has(message.type)) {
      this.#brisk = this.#state === "connected" && now - this.#heard < BRISK_SECONDS;
      this.#heard = now;
      this.#attempt = 0;
      if (this.#state === "subscribed") this.#enter("connected", null);
      this.#emit(message.type, message);
    } else if (NEWS.has(message.type)) {
      this.#emit(message.type, message);
    } else if (message.type === "drain") {
      this.#enter("draining", now + message.reconnect_after_ms / 1000);
    } else if (message.type === "error") {
      if (message.fatal) this.#fatal = /** @type {any} */ (message);
      else this.#emit("refused", message);
    } // a newer server may say more
    return this.#take();
  }

  /** The socket closed by itself. @param {number} code @param {string} reason @param {number} now */
  closed(code, reason, now) {
    if (!this.#live) return this.#take();
    if (this.#fatal?.code === "token_expired") this.#expired = this.#token;
    // 1000 ends a recorder's session; to those who watch it says nothing.
    if (code !== 1000 && isFinal(code)) {
      const name = this.#fatal?.code ?? CLOSE_NAMES[code] ?? "refused";
      this.#end(name, code, this.#fatal?.message || reason);
    } else {
      this.#lost(now);
    }
    return this.#take();
  }

  /** Time passes: to be called about once a second, and when `due`. @param {number} now */
  tick(now) {
    if (this.#due !== null && now >= this.#due) {
      if (this.#state === "connecting") this.#lost(now);
      else this.#reconnect(now);
    } else if (this.#said && this.#silent(now)) {
      this.#reconnect(now);
    } else if (this.#said && this.#refreshAt !== null && now >= this.#refreshAt) {
      this.#refreshAt = null;
      this.#askToken(true);
    }
    return this.#take();
  }

  // --- inside ---

  get #live() {
    return this.#state !== "idle" && this.#state !== "ended";
  }

  /** @param {number} now */
  #silent(now) {
    return now - this.#heard > (this.#brisk ? BRISK_SILENCE_SECONDS : SILENCE_SECONDS);
  }

  /** @param {number} now */
  #connect(now) {
    this.#enter("connecting", now + HANDSHAKE_SECONDS);
    this.#askToken(false);
  }

  /** @param {boolean} refresh */
  #askToken(refresh) {
    this.#tokenRequest += 1;
    this.#effects.push({ do: "token", request: this.#tokenRequest, refresh });
  }

  /** @param {number} now */
  #reconnect(now) {
    this.#drop();
    this.#connect(now);
  }

  /** The connection is gone: try again after a while. @param {number} now */
  #lost(now) {
    this.#drop();
    if (this.#state === "draining" && this.#due !== null) {
      this.#enter("waiting", this.#due);
    } else if (this.#state !== "away") {
      this.#enter("waiting", now + retryDelay(this.#attempt, this.#random()));
      this.#attempt += 1;
    }
  }

  #drop() {
    this.#said = false;
    this.#refreshAt = null;
    this.#effects.push({ do: "drop" });
  }

  /** @param {number} now @param {number} wall @param {boolean} renewed */
  #planRefresh(now, wall, renewed) {
    const delay = refreshDelay(this.#token, wall, renewed);
    // A clock of the day that is wrong shall not make it ask all the time.
    this.#refreshAt = delay === null ? null : now + Math.max(TOKEN_RETRY_SECONDS, delay);
  }

  /** @param {WatchState} state @param {number | null} due */
  #enter(state, due) {
    this.#due = due;
    if (this.#state === state && state !== "waiting") return;
    this.#state = state;
    this.#emit("state", { state, retryAt: this.retryAt });
  }

  /** @param {string} reason @param {number} code @param {string} message */
  #end(reason, code, message) {
    if (this.#state === "ended") return;
    this.#drop();
    this.#enter("ended", null);
    this.#emit("ended", { reason, code, message });
  }

  /** @param {Record<string, unknown>} message */
  #send(message) {
    this.#effects.push({ do: "send", message });
  }

  /** @param {string} event @param {Record<string, unknown>} detail */
  #emit(event, detail) {
    this.#effects.push({ do: "emit", event, detail });
  }

  #take() {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
