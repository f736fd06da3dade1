/**
 * Questions over HTTP, with the page's token.
 *
 * @module
 */

/** Why there is no answer: `code` is the problem's (RFC 9457), or `unreachable`. */
export class NoAnswer extends Error {
  /** @param {string} code @param {string} detail for people @param {number | null} [retryAfter] seconds */
  constructor(code, detail, retryAfter = null) {
    super(detail);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/**
 * @param {string} path
 * @param {string} token
 * @param {AbortSignal} signal
 * @returns {Promise<Response>} an answer that is one; throws `NoAnswer`, or what the signal was aborted with
 */
export async function fetchAs(path, token, signal) {
  let response;
  try {
    const headers = { Authorization: `Bearer ${token}` };
    response = await fetch(path, { headers, signal, cache: "no-store" });
  } catch (error) {
    signal.throwIfAborted();
    throw new NoAnswer("unreachable", String(error));
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  throw new NoAnswer(problem.code ?? `status_${response.status}`, problem.detail ?? response.statusText, retryAfter);
}

/** @param {string} path @param {string} token @param {AbortSignal} signal @returns {Promise<any>} as `fetchAs` */
export async function ask(path, token, signal) {
  const response = await fetchAs(path, token, signal);
  try {
    return await response.json();
  } catch (error) {
    signal.throwIfAborted();
    throw new NoAnswer("unreachable", String(error));
  }
}
