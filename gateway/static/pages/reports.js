/**
 * Reports as files. They are asked for with the page's token, which a plain link can't bring: so a report
 * is collected here, and then saved.
 *
 * @module
 */

import { curlText, isOfToken, noAnswerText, savedText, sizeText } from "./analytics-words.js";
import { NoAnswer, fetchAs } from "./ask.js";
import { element, setText } from "./page.js";

const PATH = "/api/admin/usage/report";
const PROGRESS_MS = 1000;

/** The card with the report: its buttons, and what became of them. */
export class Reports {
  #token;
  #refused;
  /** @type {Record<string, string>} */
  #chosen = {};
  /** @type {AbortController | null} */
  #running = null;

  /** @param {() => string} token of now @param {(error: NoAnswer) => void} refused another token is needed */
  constructor(token, refused) {
    this.#token = token;
    this.#refused = refused;
    for (const button of document.querySelectorAll("button[data-format]")) {
      const { format = "" } = /** @type {HTMLElement} */ (button).dataset;
      button.addEventListener("click", () => void this.#download(format));
    }
    element("report-cancel").addEventListener("click", () => this.#running?.abort());
    element("rows").addEventListener("change", () => this.#showCommand());
  }

  /** Other days, or another organization. @param {Record<string, string>} query */
  choose(query) {
    this.#chosen = query;
    this.#showCommand();
  }

  /** @param {string} format */
  #path(format) {
    return `${PATH}?${new URLSearchParams({ ...this.#chosen, rows: element("rows").value, format })}`;
  }

  #showCommand() {
    setText("curl", curlText(new URL(this.#path("csv"), location.href).href, "usage.csv"));
  }

  /** @param {string} format */
  async #download(format) {
    if (this.#running !== null) return;
    const { signal } = (this.#running = new AbortController());
    this.#showRunning(true);
    const say = (/** @type {string} */ text) => setText("report-text", text);
    say("Asking for the report …");
    try {
      const path = this.#path(format);
      const { name, bytes } = await download(path, this.#token(), signal, (got) => say(`${sizeText(got)} so far …`));
      say(savedText(name, bytes));
    } catch (error) {
      if (signal.aborted) return say("Cancelled: nothing was saved.");
      if (!(error instanceof NoAnswer)) throw error;
      say(noAnswerText(error.code, error.message, error.retryAfter));
      if (isOfToken(error.code)) this.#refused(error);
    } finally {
      this.#running = null;
      this.#showRunning(false);
    }
  }

  /** @param {boolean} isRunning */
  #showRunning(isRunning) {
    for (const button of document.querySelectorAll("button[data-format]")) {
      button.setAttribute("aria-disabled", String(isRunning));
    }
    const cancel = element("report-cancel");
    if (!isRunning && cancel === document.activeElement) element("rows").focus();
    cancel.hidden = !isRunning;
  }
}

/**
 * @param {string} path
 * @param {string} token
 * @param {AbortSignal} signal
 * @param {(bytes: number) => void} progress
 * @returns {Promise<{ name: string, bytes: number }>} what was saved; throws as `fetchAs`, also for half a report
 */
async function download(path, token, signal, progress) {
  const response = await fetchAs(path, token, signal);
  const parts = [];
  let bytes = 0;
  let toldAt = performance.now();
  try {
    for await (const part of chunks(response)) {
      parts.push(part);
      bytes += part.length;
      // Not so often that it can't be read out.
      if (performance.now() < toldAt + PROGRESS_MS) continue;
      toldAt = performance.now();
      progress(bytes);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw new NoAnswer("broken_off", String(error));
  }
  const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "usage";
  save(new Blob(parts, { type: response.headers.get("content-type") ?? "" }), name);
  return { name, bytes };
}

/** @param {Response} response @returns {AsyncGenerator<Uint8Array<ArrayBuffer>>} */
async function* chunks(response) {
  const reader = response.body?.getReader();
  for (;;) {
    const { value, done } = (await reader?.read()) ?? { value: undefined, done: true };
    if (done || value === undefined) return;
    yield value;
  }
}

/** @param {Blob} content @param {string} name */
function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser has taken it by then, whatever it asks the person meanwhile.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
