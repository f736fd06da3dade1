/**
 * A recorder's session as a state machine. Pure: no socket, no timer, no clock. Each input
 * returns what is to be done about it, in order; `minute-meter.worker.js` is its driver in browsers.
 *
 * @module
 */

import { CLOSE_NAMES, MAX_FRAME_BYTES, isFinal } from "./codes.js";
import { HeldSeconds, RecordingClock } from "./seconds.js";
import { TOKEN_RETRY_SECONDS, parse, refreshDelay, retryDelay } from "./timing.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Usage} Usage */
/** @typedef {import("./types.js").Snapshot} Snapshot */
/** @typedef {import("./types.js").Effect} Effect */

const HANDSHAKE_SECONDS = 10;
const SILENCE_MIN_SECONDS = 15;
const RESYNCHRONIZE_SECONDS = 20;
/** `stop` waits for seconds that are due within so long; others are of a clock that was set back. */
const DUE_SOON_SECONDS = 60;
/** A clock that says so much less than before was set back, and didn't just run fast. */
const SET_BACK_SECONDS = 5;
/** As long as any. */
const ANY_ORIGIN = 9_999_999_999;

/** An `ack` later than this is a reason to doubt a connection after a wake-up. */
const OVERDUE_SECONDS = 2;

export class Session {
  #clock = new RecordingClock();
  #held = new HeldSeconds();
  /** @type {Effect[]} */
  #effects = [];
  /** @type {State} */
  #state = "idle";
  #options;
  #random;

  #token = "";
  #tokenRequest = 0;
  #attempt = 0;
  #startedOnce = false;
  #stopping = false;
  #stopSent = false;
  #everStopSent = false;
  /** Whether the server has told the time since the session is to stop. */
  #timeTold = false;
  /** The server has said `stop`: why, and the last second that it counts. @type {{ reason: string, last: number } | null} */
  #notice = null;
  #resynchronizedAt = -Infinity;
  /** Until then nothing is sent, as it would be refused. @type {number | null} */
  #quietUntil = null;
  #ackSeconds = 5;
  #heard = 0;
  /** When something has to happen: a retry, the end of a handshake, the move off a draining gateway. @type {number | null} */
  #due = null;
  /** @type {number | null} */
  #refreshAt = null;
  /** Last words of the server before it closed. @type {{ code: string, message: string } | null} */
  #fatal = null;

  #origin = 0;
  #recordedSeconds = 0;
  #claimedThrough = -1;
  #sessionSeconds = 0;
  #countedThrough = -1;
  #durableThrough = -1;
  /** @type {Usage | null} */
  #usage = null;

  /**
   * @param {{ sessionId: string, kind?: string, metadata?: Record<string, unknown> }} options
   * @param {() => number} [random]
   */
  constructor(options, random = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  /** When `tick` is to be called at the latest; null when its usual rhythm will do. */
  get due() {
    return this.#due;
  }

  /** @returns {Snapshot} */
  get snapshot() {
    return {
      state: this.#state,
      recording: this.#clock.recording,
      sessionId: this.#options.sessionId,
      recordedSeconds: this.#recordedSeconds,
      sessionSeconds: this.#sessionSeconds,
      durableSeconds: Math.max(0, this.#sessionSeconds - this.#held.countThrough(this.#countedThrough)),
      heldSeconds: this.#held.size,
      countedThrough: this.#countedThrough,
      durableThrough: this.#durableThrough,
      retryAt: this.#state === "waiting" || this.#state === "draining" ? this.#due : null,
      usage: this.#usage,
    };
  }

  // --- what the application does ---

  /** Open the session. @param {number} now */
  start(now) {
    this.#connect(now);
    return this.#take();
  }

  /** @param {number} at */
  record(at) {
    if (!this.#stopping && this.#notice === null) this.#clock.record(at);
    return this.#take();
  }

  /** @param {number} at */
  pause(at) {
    this.#clock.pause(at);
    this.#flush(at);
    return this.#take();
  }

  /** End the session: what was recorded is sent first, over a new connection if need be. @param {number} at */
  stop(at) {
    this.#clock.pause(at);
    this.#stopping = true;
    if (!this.#startedOnce) this.#end("stopped", 1000, "");
    else this.#flush(at);
    return this.#take();
  }

  /** Give up at once, whatever is still held. @param {string} reason @param {string} message */
  abandon(reason, message) {
    this.#end(reason, 1000, message);
    return this.#take();
  }

  /** The page is being left or frozen: it may never come back. @param {number} at */
  leave(at) {
    this.#clock.suspend(at);
    this.#flush(at);
    if (this.#live) {
      this.#drop();
      this.#enter("away", null);
    }
    return this.#take();
  }

  /** The page is back. @param {number} now @param {number} wall the clock of the day */
  comeBack(now, wall) {
    const asleep = this.#asleep(now, wall);
    this.#clock.thaw(now);
    if (this.#state === "away") this.#connect(now);
    else if (asleep && this.#live) this.#reconnect(now);
    return this.#take();
  }

  /**
   * There may be a network again, or a user before the screen: no reason to wait on.
   *
   * @param {number} now
   * @param {number} wall the clock of the day
   * @param {boolean} networkChanged
   */
  wake(now, wall, networkChanged) {
    const asleep = this.#asleep(now, wall);
    const overdue = now - this.#heard > this.#ackSeconds + OVERDUE_SECONDS;
    const doubted = asleep || (this.#connected && (networkChanged || overdue));
    if (this.#state === "waiting") this.#connect(now);
    else if (doubted && this.#live && this.#state !== "away") this.#reconnect(now);
    return this.#take();
  }

  // --- what the driver reports ---

  /** The answer to `token`. @param {number} request @param {string} token @param {number} now */
  authorized(request, token, now) {
    if (request !== this.#tokenRequest || !this.#live) return this.#take();
    const renewed = token !== this.#token;
    this.#token = token;
    if (this.#state === "connecting") {
      this.#effects.push({ do: "open" });
    } else if (this.#connected) {
      if (renewed) this.#send({ type: "refresh", token });
      this.#planRefresh(now, renewed);
    }
    return this.#take();
  }

  /** There was no token to be had. @param {number} request @param {number} now */
  unauthorized(request, now) {
    if (request !== this.#tokenRequest) return this.#take();
    if (this.#state === "connecting") this.#lost(now);
    else if (this.#connected) this.#refreshAt = now + TOKEN_RETRY_SECONDS;
    return this.#take();
  }

  /** The socket is open. */
  opened() {
    const { sessionId, kind = "recording", metadata = {} } = this.#options;
    const start = { type: "start", token: this.#token, session_id: sessionId, kind, metadata };
    // It has to fit with an origin, too: with that, a session goes on that no server knows any more.
    const longest = { ...start, origin: ANY_ORIGIN };
    const bytes = new TextEncoder().encode(JSON.stringify(longest)).length;
    if (bytes > MAX_FRAME_BYTES) {
      const message = `token and metadata make a first message of ${bytes} bytes; ${MAX_FRAME_BYTES} are allowed`;
      this.#end("bad_message", 4504, message);
    } else {
      this.#held.restart();
      this.#fatal = null;
      this.#stopSent = false;
      this.#send(this.#startedOnce ? { ...start, origin: this.#origin } : start);
    }
    return this.#take();
  }

  /** The socket closed by itself. @param {number} code @param {string} reason @param {number} now */
  closed(code, reason, now) {
    if (isFinal(code)) {
      this.#end(this.#finalReason(code), code, this.#fatal?.message || reason);
    } else if (this.#live) {
      this.#lost(now);
    }
    return this.#take();
  }

  /**
   * Time passes: to be called once a second, and when `due`.
   *
   * @param {number} now monotonic
   * @param {number} wall the clock of the day
   */
  tick(now, wall) {
    const asleep = this.#asleep(now, wall);
    if (asleep && this.#live && this.#state !== "away") this.#reconnect(now);
    else this.#watch(now);
    this.#flush(now);
    return this.#take();
  }

  /** A text frame came. @param {string} text @param {number} now */
  received(text, now) {
    this.#heard = now;
    const message = parse(text);
    if (message.usage) this.#usage = message.usage;
    switch (message.type) {
      case "started":
        this.#started(message, now);
        break;
      case "ack":
        this.#acknowledged(message);
        break;
      case "warning":
        this.#emit("warning", { kind: message.kind, value: message.value, usage: message.usage });
        break;
      case "stop":
        this.#told(message, now);
        break;
      case "stopped":
        this.#sessionSeconds = message.session_seconds;
        this.#durableThrough = Math.max(this.#durableThrough, message.durable_through ?? -1);
        this.#countedThrough = Math.max(this.#countedThrough, this.#durableThrough);
        this.#held.release(this.#durableThrough, Infinity);
        this.#end(message.reason, 1000, "");
        break;
      case "drain":
        this.#enter("draining", now + message.reconnect_after_ms / 1000);
        break;
      case "error":
        this.#refused(message, now);
        break;
      default: // a newer server may say more
    }
    return this.#take();
  }

  // --- inside ---

  get #connected() {
    return this.#state === "connected" || this.#state === "draining";
  }

  get #live() {
    return this.#state !== "idle" && this.#state !== "ended";
  }

  /**
   * Whether the machine slept or the page was frozen. Whatever first hears of time again asks: else
   * the next tick would take a connection that was made since for one from before.
   *
   * @param {number} now
   * @param {number} wall
   */
  #asleep(now, wall) {
    const asleep = this.#clock.pass(now, wall);
    if (asleep) {
      this.#claim(now);
      this.#clock.desynchronize();
    }
    return asleep;
  }

  /** @param {Record<string, any>} message @param {number} now */
  #started(message, now) {
    this.#claim(now); // what was recorded so far is placed by the clock that was known then
    if (this.#startedOnce) this.#renumber(this.#origin - message.origin);
    this.#origin = message.origin;
    this.#clock.synchronize(message.origin, message.server_time, now);
    this.#timeTold = this.#stopping;
    const underWay = Math.floor(this.#clock.position(now));
    // By a clock that was set back, what is recorded from here has lower numbers than before.
    if (this.#claimedThrough > underWay + SET_BACK_SECONDS) this.#claimedThrough = underWay - 1;
    this.#ackSeconds = message.ack_seconds;
    this.#countedThrough = message.counted_through;
    this.#durableThrough = message.durable_through;
    this.#startedOnce = true;
    this.#quietUntil = null;
    this.#enter("connected", null);
    this.#emit("started", { sessionId: message.session_id, origin: message.origin, resumed: message.resumed });
    if (this.#usage) this.#emit("usage", { usage: this.#usage });
    this.#planRefresh(now, true);
    this.#flush(now);
  }

  /** @param {Record<string, any>} message */
  #acknowledged(message) {
    this.#attempt = 0;
    this.#countedThrough = message.counted_through;
    this.#durableThrough = message.durable_through;
    this.#sessionSeconds = message.session_seconds;
    this.#held.release(message.durable_through, message.heartbeats);
    this.#emit("ack", {
      countedThrough: message.counted_through,
      durableThrough: message.durable_through,
      sessionSeconds: message.session_seconds,
    });
    this.#emit("usage", { usage: message.usage });
  }

  /** Redis and Postgres had both forgotten the session, and it begins anew. @param {number} shift */
  #renumber(shift) {
    if (shift === 0) return;
    this.#held.renumber(shift);
    this.#claimedThrough += shift;
  }

  /** The server says `stop`: nothing after its last second is counted. @param {Record<string, any>} message @param {number} now */
  #told(message, now) {
    this.#clock.pause(now);
    this.#notice = { reason: message.reason, last: message.last_second };
    this.#emit("stop", {
      reason: message.reason,
      lastSecond: message.last_second,
      graceSeconds: message.grace_seconds,
    });
  }

  /**
   * Seconds in the future mean that the clocks have drifted apart: `started` tells the time anew, and
   * what was refused is sent again.
   *
   * @param {Record<string, any>} error
   * @param {number} now
   */
  #refused(error, now) {
    if (error.fatal) {
      this.#fatal = /** @type {any} */ (error);
      return;
    }
    this.#emit("refused", { code: error.code, message: error.message });
    if (error.code !== "second_in_future" || !this.#connected) return;
    // It doesn't say which seconds it means: an ack of later ones must not let go of them.
    this.#held.sendAgain();
    const next = this.#resynchronizedAt + RESYNCHRONIZE_SECONDS;
    if (now < next) this.#quietUntil = next;
    else this.#resynchronize(now);
  }

  /** @param {number} now */
  #resynchronize(now) {
    this.#resynchronizedAt = now;
    this.#quietUntil = null;
    this.#reconnect(now);
  }

  /** @param {number} code @returns {string} */
  #finalReason(code) {
    const stopped = CLOSE_NAMES[code] === "session_ended" && this.#everStopSent;
    if (stopped) return "stopped"; // what said so was lost with the connection
    return this.#notice?.reason ?? this.#fatal?.code ?? CLOSE_NAMES[code] ?? "refused";
  }

  /** Do what has become due, and notice a connection that has died without saying so. @param {number} now */
  #watch(now) {
    const silence = Math.max(3 * this.#ackSeconds, SILENCE_MIN_SECONDS);
    if (this.#due !== null && now >= this.#due) {
      if (this.#state === "connecting") this.#lost(now);
      else this.#reconnect(now);
    } else if (this.#connected && now - this.#heard > silence) {
      this.#reconnect(now);
    } else if (this.#connected && this.#quietUntil !== null && now >= this.#quietUntil) {
      this.#resynchronize(now);
    }
    if (this.#connected && this.#refreshAt !== null && now >= this.#refreshAt) {
      this.#refreshAt = null;
      this.#askToken(true);
    }
  }

  /** @param {number} now */
  #claim(now) {
    for (const range of this.#clock.claim(now, this.#stopping)) {
      const first = Math.max(range[0], this.#claimedThrough + 1);
      this.#recordedSeconds += Math.max(0, range[1] - first + 1);
      this.#claimedThrough = Math.max(this.#claimedThrough, range[1]);
      this.#held.add(range);
    }
  }

  /**
   * Send what was recorded and not sent on this connection. Nothing more than a second ahead of the
   * server's clock: it would be refused.
   *
   * @param {number} now
   */
  #flush(now) {
    this.#claim(now);
    if (!this.#connected || !this.#clock.synchronized || this.#quietUntil !== null) return;
    const counted = this.#notice?.last ?? Infinity;
    const underWay = Math.floor(this.#clock.position(now));
    const through = Math.min(underWay + 1, counted);
    for (const [first, last] of this.#held.take(through)) {
      const seconds = first === last ? { second: first } : { from: first, to: last };
      this.#send({ type: "heartbeat", ...seconds });
    }
    const awaited = this.#notice?.last ?? underWay + DUE_SOON_SECONDS;
    if (this.#stopping && !this.#stopSent && !this.#held.waiting(awaited)) {
      if (this.#notice === null && !this.#timeTold && this.#held.waiting(Infinity)) {
        // The server's clock may have been put right since it told the time: ask once more.
        this.#reconnect(now);
        return;
      }
      this.#stopSent = this.#everStopSent = true;
      this.#send({ type: "stop" });
    }
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
    this.#refreshAt = null;
    this.#effects.push({ do: "drop" });
  }

  /** @param {number} now @param {boolean} renewed */
  #planRefresh(now, renewed) {
    const delay = refreshDelay(this.#token, this.#clock.serverNow(now), renewed);
    this.#refreshAt = delay === null ? null : now + delay;
  }

  /** @param {State} state @param {number | null} due */
  #enter(state, due) {
    this.#due = due;
    if (this.#state === state && state !== "waiting") return;
    this.#state = state;
    this.#emit("state", { state, retryAt: state === "waiting" || state === "draining" ? due : null });
  }

  /** @param {string} reason @param {number} code @param {string} message */
  #end(reason, code, message) {
    if (this.#state === "ended") return;
    this.#drop();
    this.#enter("ended", null);
    this.#emit("ended", { reason, code, message, sessionSeconds: this.#sessionSeconds });
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
