/**
 * The connection of somebody who watches (`/v1/usage`, `/v1/ops`) as a state machine. Pure: no socket,
 * no timer, no clock. Each input returns what is to be done about it, in order; `watch.js` is its driver.
 *
 * Every message says how things are now, so after a reconnect nothing has to be caught up with.
 *
 * @module
 */

import { CLOSE_NAMES, isFinal } from "./codes.js";
import { Connection } from "./reconnect.js";
import { TOKEN_RETRY_SECONDS } from "./timing.js";
import { parse } from "./wire.js";

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
  #connection;
  /** Goes with `subscribe`. @type {Record<string, unknown>} */
  #fields;
  /** The token that the server called expired: there is no use in sending it again. */
  #expired = "";
  #heard = 0;
  #brisk = false;
  /** Last words of the server before it closed. @type {{ code: string, message: string } | null} */
  #fatal = null;

  /**
   * @param {Record<string, unknown>} [fields] of `subscribe`
   * @param {() => number} [random]
   */
  constructor(fields = {}, random = Math.random) {
    this.#fields = fields;
    this.#connection = new Connection(random);
  }

  /** When `tick` is to be called at the latest; null when its usual rhythm will do. */
  get due() {
    return this.#connection.due;
  }

  get state() {
    return this.#connection.state;
  }

  /** When the next try to connect is due; null without one. */
  get retryAt() {
    return this.#connection.retryAt;
  }

  // --- what the application does ---

  /** @param {number} now */
  start(now) {
    this.#connection.connect(now);
    return this.#connection.take();
  }

  /** Watch something else from now on. @param {Record<string, unknown>} fields of `subscribe` */
  choose(fields) {
    this.#fields = fields;
    if (this.#connection.open) this.#connection.send({ type: "subscribe", ...fields });
    return this.#connection.take();
  }

  /** Say something; without a connection it is not said. @param {Record<string, unknown>} message */
  say(message) {
    if (this.#connection.open) this.#connection.send(message);
    return this.#connection.take();
  }

  /** Watch no more. @param {string} reason */
  close(reason) {
    this.#connection.end(reason, 1000, "");
    return this.#connection.take();
  }

  /** The page is being left: it may never come back. */
  leave() {
    this.#connection.leave();
    return this.#connection.take();
  }

  /** The page is back. @param {number} now */
  comeBack(now) {
    if (this.state === "away") this.#connection.connect(now);
    return this.#connection.take();
  }

  /**
   * There may be a network again, or a user before the screen: no reason to wait on.
   *
   * @param {number} now
   * @param {boolean} networkChanged
   */
  wake(now, networkChanged) {
    if (this.state === "waiting") this.#connection.connect(now);
    else if (this.#connection.open && (networkChanged || this.#silent(now))) this.#connection.reconnect(now);
    return this.#connection.take();
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
    if (!this.#connection.awaits(request)) return this.#connection.take();
    const renewed = this.#connection.use(token);
    if (this.#connection.state === "connecting") {
      if (token === this.#expired) this.#connection.end("token_expired", 4001, "");
      else this.#connection.openSocket();
    } else if (this.#connection.open) {
      if (renewed) this.#connection.send({ type: "refresh", token });
      this.#planRefresh(now, wall, renewed);
    }
    return this.#connection.take();
  }

  /** There was no token to be had. @param {number} request @param {number} now */
  unauthorized(request, now) {
    this.#connection.unauthorized(request, now);
    return this.#connection.take();
  }

  /** The socket is open. @param {number} now @param {number} wall the clock of the day */
  opened(now, wall) {
    this.#fatal = null;
    this.#heard = now;
    this.#brisk = false;
    this.#connection.send({ type: "subscribe", token: this.#connection.token, ...this.#fields });
    this.#connection.enter("subscribed", null);
    this.#planRefresh(now, wall, true);
    return this.#connection.take();
  }

  /** A text frame came. @param {string} text @param {number} now */
  received(text, now) {
    const message = parse(text);
    if (STATES.has(message.type)) {
      this.#brisk = this.state === "connected" && now - this.#heard < BRISK_SECONDS;
      this.#heard = now;
      this.#connection.proved();
      if (this.state === "subscribed") this.#connection.enter("connected", null);
      this.#connection.emit(message.type, message);
    } else if (NEWS.has(message.type)) {
      this.#connection.emit(message.type, message);
    } else if (message.type === "drain") {
      this.#connection.enter("draining", now + message.reconnect_after_ms / 1000);
    } else if (message.type === "error") {
      if (message.fatal) this.#fatal = /** @type {any} */ (message);
      else this.#connection.emit("refused", message);
    } // a newer server may say more
    return this.#connection.take();
  }

  /** The socket closed by itself. @param {number} code @param {string} reason @param {number} now */
  closed(code, reason, now) {
    if (!this.#connection.live) return this.#connection.take();
    if (this.#fatal?.code === "token_expired") this.#expired = this.#connection.token;
    // 1000 ends a recorder's session; to those who watch it says nothing.
    if (code !== 1000 && isFinal(code)) {
      const name = this.#fatal?.code ?? CLOSE_NAMES[code] ?? "refused";
      this.#connection.end(name, code, this.#fatal?.message || reason);
    } else {
      this.#connection.lost(now);
    }
    return this.#connection.take();
  }

  /** Time passes: to be called about once a second, and when `due`. @param {number} now */
  tick(now) {
    if (!this.#connection.advance(now)) {
      if (this.#connection.open && this.#silent(now)) this.#connection.reconnect(now);
      else this.#connection.refresh(now);
    }
    return this.#connection.take();
  }

  // --- inside ---

  /** @param {number} now */
  #silent(now) {
    return now - this.#heard > (this.#brisk ? BRISK_SILENCE_SECONDS : SILENCE_SECONDS);
  }

  /** @param {number} now @param {number} wall @param {boolean} renewed */
  #planRefresh(now, wall, renewed) {
    // A clock of the day that is wrong shall not make it ask all the time.
    this.#connection.planRefresh(now, wall, renewed, TOKEN_RETRY_SECONDS);
  }
}
