/**
 * Which seconds were recorded, and which of them still have to be held. Pure: no timers, no clock.
 *
 * @module
 */

/** @typedef {[first: number, last: number]} Range seconds of a session, inclusive */

/** Longest silence of our own timer, in seconds, through which a recording is taken to have gone on. */
export const LONGEST_GAP_SECONDS = 5;

/** A second counts when at least this much of it was recorded. */
const COUNTED_PART = 0.5;
const ROUNDING = 1e-6;

/** A wall clock that moves this much further than the monotonic one says that the machine slept. */
const CLOCK_JUMP_SECONDS = 5;

/**
 * Follows what is being recorded, on a monotonic clock, and tells which seconds of the session that
 * makes.
 *
 * A second counts when at least half of it was recorded. A recording of n seconds so counts n, wherever
 * within a second it began, and pausing and resuming in quick succession adds nothing.
 *
 * Recording is believed while this object hears of time passing, about once a second. The timer lives
 * in a worker of the recording page, which sleeps and freezes with it: when the timer has
 * been silent for more than `LONGEST_GAP_SECONDS`, the machine slept or the page was frozen, nothing
 * was recorded meanwhile, and nothing is claimed for it. A shorter silence is a busy machine, and is made up for.
 *
 * All times are seconds. `at` and `now` are monotonic; `wall` is the machine's clock of the day.
 */
export class RecordingClock {
  /** Server's clock minus ours; null while it isn't known. @type {number | null} */
  #offset = null;
  #origin = 0;
  /** Start of what was recorded and not placed; null when nothing is being recorded. @type {number | null} */
  #since = null;
  /** When time was last known to pass while recording, and when `pass` was last called. */
  #seen = 0;
  #passed = 0;
  /** Stretches that ended before the server's clock was known. @type {[number, number][]} */
  #ended = [];
  /** How much of the seconds that aren't over was recorded. @type {Map<number, number>} */
  #parts = new Map();
  /** @type {number | null} */
  #wallLead = null;
  #wanted = false;
  #suspended = false;

  /** Whether a recording is going on. */
  get recording() {
    return this.#wanted;
  }

  /** Whether positions can be told: false at first, and after the machine slept. */
  get synchronized() {
    return this.#offset !== null;
  }

  /**
   * A `started` came: learn the server's clock. What is claimed later is placed by this estimate;
   * what was recorded keeps its length.
   *
   * @param {number} origin
   * @param {number} serverTime
   * @param {number} now
   */
  synchronize(origin, serverTime, now) {
    const shift = this.#origin - origin;
    this.#parts = new Map([...this.#parts].map(([second, part]) => [second + shift, part]));
    this.#origin = origin;
    this.#offset = serverTime - now;
  }

  /** The server's clock, in epoch seconds. @param {number} now */
  serverNow(now) {
    return now + (this.#offset ?? 0);
  }

  /** Seconds since the session's origin, with their fraction. @param {number} now */
  position(now) {
    return this.serverNow(now) - this.#origin;
  }

  /** Recording starts or goes on. @param {number} at */
  record(at) {
    this.#wanted = true;
    this.#open(at);
  }

  /** Recording pauses or ends. @param {number} at */
  pause(at) {
    this.#close(at);
    this.#wanted = false;
  }

  /** The page is left or frozen: nothing is recorded until `thaw`. @param {number} at */
  suspend(at) {
    this.#close(at);
    this.#suspended = true;
  }

  /** @param {number} at */
  thaw(at) {
    this.#suspended = false;
    if (this.#wanted) this.#open(at);
  }

  /**
   * Time passes. True when the machine slept or the page was frozen since the last call, so that a
   * connection is not to be trusted.
   *
   * @param {number} now
   * @param {number} wall
   * @returns {boolean}
   */
  pass(now, wall) {
    const slept = this.#sleptThrough(now, wall);
    const missed = this.#passed > 0 && now - this.#passed > LONGEST_GAP_SECONDS;
    this.#passed = Math.max(this.#passed, now);
    if (this.#since !== null && now - this.#seen > LONGEST_GAP_SECONDS) {
      this.#close(now);
      this.#open(now);
    }
    this.#seen = Math.max(this.#seen, now);
    return slept || missed;
  }

  /**
   * The seconds recorded since the last call, as ascending ranges: those whose interval has passed;
   * with `finish`, the one under way too.
   *
   * @param {number} now
   * @param {boolean} [finish]
   * @returns {Range[]}
   */
  claim(now, finish = false) {
    if (this.#offset === null) return [];
    /** @type {Range[]} */
    const claimed = [];
    const stretches = this.#ended;
    this.#ended = [];
    if (this.#since !== null && now > this.#since) {
      stretches.push([this.#since, now]);
      this.#since = now;
    }
    for (const [from, to] of stretches) this.#place(this.position(from), this.position(to), claimed);
    const underWay = Math.floor(this.position(now));
    for (const [second, part] of this.#parts) {
      if (second >= underWay && !finish) continue;
      this.#parts.delete(second);
      if (part >= COUNTED_PART - ROUNDING) claimed.push([second, second]);
    }
    return claimed.filter(([, last]) => last >= 0).sort((a, b) => a[0] - b[0]);
  }

  /** @param {number} from @param {number} to positions @param {Range[]} whole */
  #place(from, to, whole) {
    const [first, last] = [Math.floor(from), Math.floor(to)];
    if (first === last) {
      this.#addPart(first, to - from);
      return;
    }
    this.#addPart(first, first + 1 - from);
    if (first + 1 < last) whole.push([Math.max(0, first + 1), last - 1]);
    this.#addPart(last, to - last);
  }

  /** @param {number} second @param {number} part */
  #addPart(second, part) {
    this.#parts.set(second, (this.#parts.get(second) ?? 0) + part);
  }

  /** @param {number} at */
  #open(at) {
    if (this.#since !== null || this.#suspended) return;
    this.#since = at;
    this.#seen = Math.max(this.#seen, at);
  }

  /** @param {number} at */
  #close(at) {
    if (this.#since === null) return;
    const end = at - this.#seen > LONGEST_GAP_SECONDS ? this.#seen : at;
    if (end > this.#since) this.#ended.push([this.#since, end]);
    this.#since = null;
  }

  /**
   * Some systems' monotonic clocks stand still in sleep: the clock of the day tells.
   *
   * @param {number} now @param {number} wall
   */
  #sleptThrough(now, wall) {
    const lead = wall - now;
    const slept = this.#wallLead !== null && lead - this.#wallLead > CLOCK_JUMP_SECONDS;
    this.#wallLead = lead;
    return slept;
  }

  /** The machine slept: what is claimed from here on waits for the next `started` to be placed. */
  desynchronize() {
    this.#offset = null;
  }
}

/** Seconds that were recorded and that no `ack` has called durable yet. */
export class HeldSeconds {
  /** Each second, and the heartbeat frame of this connection that sent it last (0: none). @type {Map<number, number>} */
  #frames = new Map();
  #sentFrames = 0;

  get size() {
    return this.#frames.size;
  }

  /** How many of them are up to `through`. @param {number} through */
  countThrough(through) {
    return [...this.#frames.keys()].filter((second) => second <= through).length;
  }

  /** @param {Range} range */
  add([first, last]) {
    for (let second = first; second <= last; second += 1) {
      if (!this.#frames.has(second)) this.#frames.set(second, 0);
    }
  }

  /**
   * The session has another origin: the same moments have other numbers, and those before its new
   * beginning have none.
   *
   * @param {number} shift
   */
  renumber(shift) {
    const seconds = [...this.#frames.keys()].map((second) => second + shift);
    this.#frames = new Map(seconds.filter((second) => second >= 0).map((second) => [second, 0]));
  }

  /** A new connection: nothing was sent on it. */
  restart() {
    this.#sentFrames = 0;
    this.sendAgain();
  }

  /** All of them are to be sent once more, and no `ack` of what was sent lets go of them. */
  sendAgain() {
    for (const second of this.#frames.keys()) this.#frames.set(second, 0);
  }

  /** Whether some second up to `through` was not sent on this connection. @param {number} through */
  waiting(through) {
    return [...this.#frames].some(([second, frame]) => frame === 0 && second <= through);
  }

  /**
   * Take the seconds that were not sent on this connection, up to `through`, as ascending ranges:
   * each is one heartbeat frame, to be sent in this order.
   *
   * @param {number} through
   * @returns {Range[]}
   */
  take(through) {
    const seconds = [...this.#frames]
      .filter(([second, frame]) => frame === 0 && second <= through)
      .map(([second]) => second)
      .sort((a, b) => a - b);
    /** @type {Range[]} */
    const ranges = [];
    for (const second of seconds) {
      const current = ranges.at(-1);
      if (current !== undefined && current[1] === second - 1) {
        current[1] = second;
      } else {
        ranges.push([second, second]);
        this.#sentFrames += 1;
      }
      this.#frames.set(second, this.#sentFrames);
    }
    return ranges;
  }

  /**
   * An `ack`: let go of the seconds up to `durableThrough` whose last sending is among the first
   * `heartbeats` frames of this connection.
   *
   * @param {number} durableThrough
   * @param {number} heartbeats
   */
  release(durableThrough, heartbeats) {
    for (const [second, frame] of this.#frames) {
      if (second <= durableThrough && frame > 0 && frame <= heartbeats) this.#frames.delete(second);
    }
  }
}
