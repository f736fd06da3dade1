/**
 * Frames of the subprotocol as a client writes and reads them. Pure.
 *
 * @module
 */

import { MAX_FRAME_BYTES } from "./codes.js";

/** As long as any. */
const ANY_ORIGIN = 9_999_999_999;

/**
 * `start`, with the origin that an earlier `started` told, if any.
 *
 * @param {string} token
 * @param {{ sessionId: string, kind?: string, metadata?: Record<string, unknown> }} options
 * @param {number | null} origin
 * @returns {Record<string, unknown>}
 */
export function startMessage(token, { sessionId, kind = "recording", metadata = {} }, origin) {
  const start = { type: "start", token, session_id: sessionId, kind, metadata };
  return origin === null ? start : { ...start, origin };
}

/**
 * Why a `start` can't be sent; null when it can. It has to fit with an origin, too: with that, a session
 * goes on that no server knows any more.
 *
 * @param {Record<string, unknown>} start
 * @returns {string | null}
 */
export function tooLong(start) {
  const bytes = new TextEncoder().encode(JSON.stringify({ ...start, origin: ANY_ORIGIN })).length;
  if (bytes <= MAX_FRAME_BYTES) return null;
  return `token and metadata make a first message of ${bytes} bytes; ${MAX_FRAME_BYTES} are allowed`;
}

/** `heartbeat` for a range of seconds. @param {import("./seconds.js").Range} range */
export function heartbeatMessage([first, last]) {
  return { type: "heartbeat", ...(first === last ? { second: first } : { from: first, to: last }) };
}

/** What is no JSON object says nothing. @param {string} text @returns {Record<string, any>} */
export function parse(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
