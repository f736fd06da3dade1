/**
 * The last minute before nothing is left, counted down between the server's figures. Pure.
 *
 * @module
 */

/** @typedef {import("/client/types.js").Usage} Usage */

const LAST_SECONDS = 60;

export class Countdown {
  /** What was left when so much had been recorded here. @type {{ left: number | null, recorded: number } | null} */
  #told = null;

  /**
   * How much is left if nobody else records: the server's next figures say what is so.
   *
   * @param {Usage | null} usage as last told
   * @param {number} recorded seconds recorded here
   * @returns {number | null} seconds; null unless it is the last minute
   */
  left(usage, recorded) {
    if (usage === null) return null;
    const told = usage.remaining_seconds;
    if (this.#told === null || this.#told.left !== told) this.#told = { left: told, recorded };
    if (told === null || told === 0) return null;
    const left = told - (recorded - this.#told.recorded);
    return left <= LAST_SECONDS ? Math.max(0, left) : null;
  }
}
