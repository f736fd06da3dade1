/**
 * The parts of the protocol that a client branches on. `meter/codes.py` is the original; a test
 * compares the two.
 *
 * @module
 */

export const SUBPROTOCOL = "minute-meter.v1";
export const MAX_FRAME_BYTES = 4096;

/** Close codes, and the name each goes by. @type {Readonly<Record<number, string>>} */
export const CLOSE_NAMES = Object.freeze({
  1000: "normal",
  4000: "draining",
  4001: "token_expired",
  4002: "overloaded",
  4003: "too_slow",
  4004: "storage_unavailable",
  4500: "limit_reached",
  4501: "session_ended",
  4502: "taken_over",
  4503: "stopped_by_operator",
  4504: "bad_message",
  4505: "token_refused",
  4506: "not_allowed",
  4507: "too_many_sessions",
  4508: "no_start",
});

/**
 * Whether a close code says that the session is over: 1000, which follows `stopped`, and 4500–4999. After
 * any other, reconnect.
 *
 * @param {number} code
 */
export function isFinal(code) {
  return code === 1000 || (code >= 4500 && code <= 4999);
}
