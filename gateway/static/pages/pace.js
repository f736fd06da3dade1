/**
 * How fast an account is counted, out of its figures as they were told. Pure.
 *
 * @module
 */

/** @typedef {import("/client/types.js").Usage} Usage */

const SPAN_SECONDS = 60;
/** Over less than this a pace would be chance. */
const LEAST_SECONDS = 10;

export class Pace {
  /** @type {{ at: number, total: number }[]} */
  #told = [];
  #of = "";

  /** @param {number} at seconds @param {Usage} usage @returns {boolean} whether more is counted than was told before */
  add(at, usage) {
    const of = `${usage.period_start} ${usage.scope}`;
    const total = totalOf(usage);
    const last = this.#told.at(-1);
    // Another period, another limit that binds, or a correction: figures that can't be compared.
    if (of !== this.#of || (last !== undefined && total < last.total)) this.#told = [];
    this.#of = of;
    this.#told.push({ at, total });
    return last !== undefined && this.#told.length > 1 && total > last.total;
  }

  /** Begin anew. */
  forget() {
    this.#told = [];
  }

  /**
   * The last minute's seconds, or those of a shorter time when it hasn't watched for so long. Nothing is
   * told while nothing changes, so the last figure stands until now.
   *
   * @param {number} now
   * @returns {{ counted: number, seconds: number } | null} null before there is anything to compare
   */
  recent(now) {
    const before = this.#told.findLastIndex(({ at }) => at <= now - SPAN_SECONDS);
    if (before > 0) this.#told.splice(0, before);
    const [first] = this.#told;
    const last = this.#told.at(-1);
    if (first === undefined || last === undefined) return null;
    const seconds = Math.min(SPAN_SECONDS, Math.floor(now - first.at));
    return seconds > 0 ? { counted: last.total - first.total, seconds } : null;
  }

  /** Seconds until so much is used, if it goes on like this; null when that can't be said. @param {number} now @param {number | null} left */
  until(now, left) {
    const recent = this.recent(now);
    if (recent === null || recent.seconds < LEAST_SECONDS || recent.counted === 0 || !left) return null;
    return Math.round((left * recent.seconds) / recent.counted);
  }
}

/** All that was counted against the limit that binds: overage is the organization's. @param {Usage} usage */
function totalOf({ used_seconds: used, scope, overage_seconds: overage = 0 }) {
  return scope === "organization" ? used + overage : used;
}
