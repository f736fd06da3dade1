/**
 * How a session comes to its end: who wants it, what its recorder still has to say, and how it ended. Pure.
 *
 * @module
 */

import { CLOSE_NAMES } from "./codes.js";

/** Of one session, over any number of connections. */
export class Stopping {
  /** Whether the application wants the end. */
  asked = false;
  /** The server does: why, and the last second that it counts. @type {{ reason: string, last: number } | null} */
  #notice = null;
  /** Whether the server has told the time since the application asked. */
  #timeTold = false;
  /** On the present connection. */
  #sent = false;
  #everSent = false;
  /** Last words of the server before it closed. @type {{ code: string, message: string } | null} */
  #lastError = null;

  /** Whether nothing more is to be recorded. */
  get begun() {
    return this.asked || this.#notice !== null;
  }

  /** The last second that the server takes; null while it takes all. */
  get lastWanted() {
    return this.#notice?.last ?? null;
  }

  /** Whether the server is still to be told `stop`, once it has what was recorded. */
  get toSend() {
    return this.asked && !this.#sent;
  }

  /**
   * Whether seconds that don't seem due are worth another connection before they are given up: the
   * server's clock may have been put right since it told the time.
   */
  get mayAskTime() {
    return this.#notice === null && !this.#timeTold;
  }

  // --- what happens ---

  /** A connection stands, and nothing was said on it. */
  connected() {
    this.#sent = false;
    this.#lastError = null;
  }

  /** The server has told the time. */
  started() {
    this.#timeTold = this.asked;
  }

  /** The server says `stop`. @param {string} reason @param {number} last the last second that it counts */
  told(reason, last) {
    this.#notice = { reason, last };
  }

  /** `stop` goes out. */
  sent() {
    this.#sent = this.#everSent = true;
  }

  /** The server says why it closes the connection next. @param {{ code: string, message: string }} error */
  failed(error) {
    this.#lastError = error;
  }

  /**
   * How it ended when the connection was closed for good.
   *
   * @param {number} code
   * @param {string} text what the close frame said
   * @returns {{ reason: string, message: string }}
   */
  closed(code, text) {
    const name = CLOSE_NAMES[code];
    const message = this.#lastError?.message || text;
    // `stopped` was lost with the connection that it was sent on.
    if (name === "session_ended" && this.#everSent) return { reason: "stopped", message };
    return { reason: this.#notice?.reason ?? this.#lastError?.code ?? name ?? "refused", message };
  }
}
