/**
 * When to try again, and when to fetch a token. Pure.
 *
 * @module
 */

const RETRY_MIN_SECONDS = 0.5;
const RETRY_MAX_SECONDS = 20;
export const TOKEN_RETRY_SECONDS = 5;

/**
 * Exponential with full jitter, 0.5 s to 20 s.
 *
 * @param {number} attempt 0 for the first
 * @param {number} random from 0 to 1
 * @returns {number} seconds
 */
export function retryDelay(attempt, random) {
  const spread = Math.min(RETRY_MAX_SECONDS, RETRY_MIN_SECONDS * 2 ** Math.min(attempt, 10));
  return Math.min(RETRY_MAX_SECONDS, RETRY_MIN_SECONDS + random * spread);
}

/**
 * When a JWT ends and how long it lives, in seconds; null when it doesn't say. It isn't verified here.
 *
 * @param {string} token
 * @returns {{ expiresAt: number, lifetime: number } | null}
 */
export function tokenTimes(token) {
  try {
    const body = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(atob(body));
    if (typeof claims.exp !== "number") return null;
    const issued = typeof claims.iat === "number" ? claims.iat : claims.exp - 60;
    return { expiresAt: claims.exp, lifetime: Math.max(0, claims.exp - issued) };
  } catch {
    return null;
  }
}

/**
 * When to fetch the next token: while a quarter of this one's life is left, 5 s at least and a minute at
 * most; when a fresh one was asked for and the same came back, soon again.
 *
 * @param {string} token
 * @param {number} serverNow epoch seconds
 * @param {boolean} renewed whether it is fresh
 * @returns {number | null} seconds; null when never
 */
export function refreshDelay(token, serverNow, renewed) {
  const times = tokenTimes(token);
  if (times === null) return null;
  const left = times.expiresAt - serverNow;
  if (!renewed) return left > 0 ? TOKEN_RETRY_SECONDS : null;
  return Math.max(1, left - Math.min(60, Math.max(5, times.lifetime / 4)));
}
