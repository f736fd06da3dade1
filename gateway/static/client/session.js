/**
 * A recorder's session as a state machine. Pure: no socket, no timer, no clock. Each input
 * returns what is to be done about it, in order; `minute-meter.worker.js` is its driver in browsers.
 *
 * @module
 */

import { isFinal } from "./codes.js";
import { EarlyRefusals } from "./early.js";
import { Liveness } from "./liveness.js";
import { Connection } from "./reconnect.js";
import { HeldSeconds, RecordingClock } from "./seconds.js";
import { Stopping } from "./stopping.js";
import { heartbeatMessage, parse, startMessage, tooLong } from "./wire.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Usage} Usage */
/** @typedef {import("./types.js").Snapshot} Snapshot */

/** `stop` waits for seconds that are due within so long; others are of a clock that was set back. */
const DUE_SOON_SECONDS = 60;
/** A clock that says so much less than before was set back, and didn't just run fast. */
const SET_BACK_SECONDS = 5;

export class Session {
  #clock = new RecordingClock();
  #held = new HeldSeconds();
  #stopping = new Stopping();
  #early = new EarlyRefusals();
  #liveness = new Liveness();
  #connection;
  #options;

  /** Second 0 in epoch seconds; null before the first `started`. @type {number | null} */
  #origin = null;
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
    this.#connection = new Connection(random);
  }

  /** When `tick` is to be called at the latest; null when its usual rhythm will do. */
  get due() {
    return this.#connection.due;
  }

  /** @returns {Snapshot} */
  get snapshot() {
    return {
      state: /** @type {State} */ (this.#connection.state),
      recording: this.#clock.recording,
      sessionId: this.#options.sessionId,
      recordedSeconds: this.#recordedSeconds,
      sessionSeconds: this.#sessionSeconds,
      durableSeconds: Math.max(0, this.#sessionSeconds - this.#held.countThrough(this.#countedThrough)),
      heldSeconds: this.#held.size,
      countedThrough: this.#countedThrough,
      durableThrough: this.#durableThrough,
      retryAt: this.#connection.retryAt,
      usage: this.#usage,
    };
  }

  // --- what the application does ---

  /** Open the session. @param {number} now */
  start(now) {
    this.#connection.connect(now);
    return this.#connection.take();
  }

  /** @param {number} at */
  record(at) {
    if (!this.#stopping.begun) this.#clock.record(at);
    return this.#connection.take();
  }

  /** @param {number} at */
  pause(at) {
    this.#clock.pause(at);
    this.#flush(at);
    return this.#connection.take();
  }

  /** End the session: what was recorded is sent first, over a new connection if need be. @param {number} at */
  stop(at) {
    this.#clock.pause(at);
    this.#stopping.asked = true;
    if (this.#origin === null) this.#end("stopped", 1000, "");
    else this.#flush(at);
    return this.#connection.take();
  }

  /** Give up at once, whatever is still held. @param {string} reason @param {string} message */
  abandon(reason, message) {
    this.#end(reason, 1000, message);
    return this.#connection.take();
  }

  /** The page is being left or frozen: it may never come back. @param {number} at */
  leave(at) {
    this.#clock.suspend(at);
    this.#flush(at);
    this.#connection.leave();
    return this.#connection.take();
  }

  /** The page is back. @param {number} now @param {number} wall the clock of the day */
  comeBack(now, wall) {
    const asleep = this.#asleep(now, wall);
    this.#clock.thaw(now);
    if (this.#connection.state === "away") this.#connection.connect(now);
    else if (asleep && this.#connection.live) this.#connection.reconnect(now);
    return this.#connection.take();
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
    const { state, live, open } = this.#connection;
    const doubted = asleep || (open && (networkChanged || this.#liveness.overdue(now)));
    if (state === "waiting") this.#connection.connect(now);
    else if (doubted && live && state !== "away") this.#connection.reconnect(now);
    return this.#connection.take();
  }

  // --- what the driver reports ---

  /** The answer to `token`. @param {number} request @param {string} token @param {number} now */
  authorized(request, token, now) {
    if (!this.#connection.awaits(request)) return this.#connection.take();
    const renewed = this.#connection.use(token);
    if (this.#connection.state === "connecting") {
      this.#connection.openSocket();
    } else if (this.#connection.open) {
      if (renewed) this.#connection.send({ type: "refresh", token });
      this.#planRefresh(now, renewed);
    }
    return this.#connection.take();
  }

  /** There was no token to be had. @param {number} request @param {number} now */
  unauthorized(request, now) {
    this.#connection.unauthorized(request, now);
    return this.#connection.take();
  }

  /** The socket is open. */
  opened() {
    const start = startMessage(this.#connection.token, this.#options, this.#origin);
    const complaint = tooLong(start);
    if (complaint !== null) {
      this.#end("bad_message", 4504, complaint);
    } else {
      this.#held.restart();
      this.#stopping.connected();
      this.#connection.send(start);
    }
    return this.#connection.take();
  }

  /** The socket closed by itself. @param {number} code @param {string} reason @param {number} now */
  closed(code, reason, now) {
    if (isFinal(code)) {
      const end = this.#stopping.closed(code, reason);
      this.#end(end.reason, code, end.message);
    } else if (this.#connection.live) {
      this.#connection.lost(now);
    }
    return this.#connection.take();
  }

  /**
   * Time passes: to be called once a second, and when `due`.
   *
   * @param {number} now monotonic
   * @param {number} wall the clock of the day
   */
  tick(now, wall) {
    const asleep = this.#asleep(now, wall);
    const { live, state } = this.#connection;
    if (asleep && live && state !== "away") this.#connection.reconnect(now);
    else this.#watch(now);
    this.#flush(now);
    return this.#connection.take();
  }

  /** A text frame came. @param {string} text @param {number} now */
  received(text, now) {
    this.#liveness.heard(now);
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
        this.#connection.emit("warning", { kind: message.kind, value: message.value, usage: message.usage });
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
        this.#connection.enter("draining", now + message.reconnect_after_ms / 1000);
        break;
      case "error":
        this.#refused(message, now);
        break;
      default: // a newer server may say more
    }
    return this.#connection.take();
  }

  // --- inside ---

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
    if (this.#origin !== null) this.#renumber(this.#origin - message.origin);
    this.#origin = message.origin;
    this.#clock.synchronize(message.origin, message.server_time, now);
    this.#stopping.started();
    this.#early.started();
    const underWay = Math.floor(this.#clock.position(now));
    // By a clock that was set back, what is recorded from here has lower numbers than before.
    if (this.#claimedThrough > underWay + SET_BACK_SECONDS) this.#claimedThrough = underWay - 1;
    this.#liveness.expectAcks(message.ack_seconds);
    this.#countedThrough = message.counted_through;
    this.#durableThrough = message.durable_through;
    this.#connection.enter("connected", null);
    this.#connection.emit("started", {
      sessionId: message.session_id,
      origin: message.origin,
      resumed: message.resumed,
    });
    if (this.#usage) this.#connection.emit("usage", { usage: this.#usage });
    this.#planRefresh(now, true);
    this.#flush(now);
  }

  /** @param {Record<string, any>} message */
  #acknowledged(message) {
    this.#connection.proved();
    this.#countedThrough = message.counted_through;
    this.#durableThrough = message.durable_through;
    this.#sessionSeconds = message.session_seconds;
    this.#held.release(message.durable_through, message.heartbeats);
    this.#connection.emit("ack", {
      countedThrough: message.counted_through,
      durableThrough: message.durable_through,
      sessionSeconds: message.session_seconds,
    });
    this.#connection.emit("usage", { usage: message.usage });
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
    this.#stopping.told(message.reason, message.last_second);
    this.#connection.emit("stop", {
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
      this.#stopping.failed(/** @type {any} */ (error));
      return;
    }
    this.#connection.emit("refused", { code: error.code, message: error.message });
    if (error.code !== "second_in_future" || !this.#connection.open) return;
    // It doesn't say which seconds it means: an ack of later ones must not let go of them.
    this.#held.sendAgain();
    if (this.#early.refused(now)) this.#connection.reconnect(now);
  }

  /** Do what has become due, and notice a connection that has died without saying so. @param {number} now */
  #watch(now) {
    const connection = this.#connection;
    if (!connection.advance(now) && connection.open) {
      if (this.#liveness.silent(now) || this.#early.due(now)) connection.reconnect(now);
    }
    connection.refresh(now);
  }

  /** @param {number} now */
  #claim(now) {
    for (const range of this.#clock.claim(now, this.#stopping.asked)) {
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
    if (!this.#connection.open || !this.#clock.synchronized || this.#early.quiet) return;
    const underWay = Math.floor(this.#clock.position(now));
    // After a stop of the server's, only what it counted is sent again, to become durable.
    const { lastWanted } = this.#stopping;
    for (const range of this.#held.take(Math.min(underWay + 1, lastWanted ?? Infinity))) {
      this.#connection.send(heartbeatMessage(range));
    }
    if (this.#stopping.toSend) this.#sendStop(lastWanted ?? underWay + DUE_SOON_SECONDS, now);
  }

  /** @param {number} waitFor the last second that has to be sent first @param {number} now */
  #sendStop(waitFor, now) {
    if (this.#held.waiting(waitFor)) return;
    if (this.#stopping.mayAskTime && this.#held.waiting(Infinity)) {
      this.#connection.reconnect(now);
      return;
    }
    this.#stopping.sent();
    this.#connection.send({ type: "stop" });
  }

  /** @param {number} now @param {boolean} renewed */
  #planRefresh(now, renewed) {
    this.#connection.planRefresh(now, this.#clock.serverNow(now), renewed);
  }

  /** @param {string} reason @param {number} code @param {string} message */
  #end(reason, code, message) {
    this.#connection.end(reason, code, message, { sessionSeconds: this.#sessionSeconds });
  }
}
