/**
 * What a client makes of a server that calls seconds too early. Pure; times are monotonic seconds.
 *
 * @module
 */

/** The server is not asked for the time more often than that. */
const ASK_AGAIN_SECONDS = 20;

/** The local clock runs fast, or the server's was set back: each `started` tells the time anew. */
export class EarlyRefusals {
  #askedAt = -Infinity;
  /** Until then nothing is sent. @type {number | null} */
  #quietUntil = null;

  /** Whether nothing is to be sent, as it would only be refused. */
  get quiet() {
    return this.#quietUntil !== null;
  }

  /** The server has told the time. */
  started() {
    this.#quietUntil = null;
  }

  /**
   * Seconds were refused. True when the server is to be asked for the time at once; else that was done
   * a moment ago, and it is quiet until it may be done again.
   *
   * @param {number} now
   */
  refused(now) {
    this.#quietUntil = Math.max(now, this.#askedAt + ASK_AGAIN_SECONDS);
    return this.due(now);
  }

  /** Whether to ask for the time, as it was quiet for long enough. True once. @param {number} now */
  due(now) {
    if (this.#quietUntil === null || now < this.#quietUntil) return false;
    this.#askedAt = now;
    this.#quietUntil = null;
    return true;
  }
}
