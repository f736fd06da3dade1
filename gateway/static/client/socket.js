/**
 * Where the meter is, and by which clock.
 *
 * @module
 */

/** The clock of every `retryAt`, in seconds: the same in page and worker, and never set back. */
export const monotonicSeconds = () => (performance.timeOrigin + performance.now()) / 1000;

/**
 * Of one of the meter's sockets.
 *
 * @param {string} path such as `/v1/record`
 * @param {string} [base] of the meter (`https:` or `wss:`); by default, where this module came from
 */
export function socketUrl(path, base) {
  const url = new URL(base ?? new URL("/", import.meta.url), location.href);
  url.protocol = url.protocol.replace("http", "ws");
  if (url.pathname === "/") url.pathname = path;
  return url.href;
}
