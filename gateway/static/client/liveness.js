/**
 * Is the connection alive? Pure; times are monotonic seconds.
 *
 * @module
 */

const LEAST_SILENCE_SECONDS = 15;
const SILENT_ACKS = 3;
/** An `ack` later than this is a reason to doubt a connection after a wake-up. */
const OVERDUE_SECONDS = 2;

/** Signs of life of the server. */
export class Liveness {
  #heardAt = 0;
  #ackSeconds = 5;

  /** The server said something. @param {number} now */
  heard(now) {
    this.#heardAt = now;
  }

  /** The server says something at least this often. @param {number} ackSeconds */
  expectAcks(ackSeconds) {
    this.#ackSeconds = ackSeconds;
  }

  /** Whether an `ack` should have come by now. @param {number} now */
  overdue(now) {
    return now - this.#heardAt > this.#ackSeconds + OVERDUE_SECONDS;
  }

  /** Whether the server should have been heard long ago. @param {number} now */
  silent(now) {
    return now - this.#heardAt > Math.max(SILENT_ACKS * this.#ackSeconds, LEAST_SILENCE_SECONDS);
  }
}
