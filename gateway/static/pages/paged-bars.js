/**
 * A list of the meter's in pages, as a table with bars: the first page, and more on request.
 *
 * @module
 */

import { isOfToken } from "./analytics-words.js";
import { NoAnswer, ask } from "./ask.js";
import { showBars } from "./bar-table.js";
import { element, setText } from "./page.js";

const PAGE_SIZE = 10;

/** @typedef {import("./bar-table.js").Row} Row */

/**
 * @typedef {object} List
 * @property {string} id of the table; its text and its button are named after it
 * @property {string} path
 * @property {() => Record<string, string>} query of now
 * @property {(item: any) => Row} row
 * @property {string} none what is said when it is empty
 * @property {string} text what is said else
 */

export class PagedBars {
  #list;
  #token;
  #refused;
  #asking = new AbortController();
  /** What it shows is the answer to an earlier question. */
  #isOutdated = false;
  /** What the rows are the answer to, whatever is chosen by now. @type {Record<string, string>} */
  #query = {};
  /** @type {Row[]} */
  #rows = [];
  /** @type {string | null} */
  #next = null;

  /** @param {() => string} token of now @param {(error: NoAnswer) => void} refused another token is needed @param {List} list */
  constructor(token, refused, list) {
    this.#token = token;
    this.#refused = refused;
    this.#list = list;
    element(`${list.id}-more`).addEventListener("click", () => {
      if (!this.#isOutdated) void this.#load(this.#next);
    });
  }

  /** From its beginning, as `query` says now; returns once it is shown, or why it can't be. */
  async show() {
    this.#showOutdated(true);
    await this.#load(null);
  }

  /** What is shown is of another token. */
  forget() {
    this.#asking.abort();
    this.#rows = [];
    this.#next = null;
    this.#draw("");
  }

  /** @param {string | null} cursor */
  async #load(cursor) {
    this.#asking.abort();
    const { signal } = (this.#asking = new AbortController());
    const { path, row, none, text } = this.#list;
    const query = cursor === null ? this.#list.query() : this.#query;
    const asked = new URLSearchParams({ ...query, limit: String(PAGE_SIZE), ...(cursor === null ? {} : { cursor }) });
    try {
      const { items, next_cursor: next } = await ask(`${path}?${asked}`, this.#token(), signal);
      this.#rows = [...(cursor === null ? [] : this.#rows), ...items.map(row)];
      this.#next = next;
      this.#query = query;
      this.#draw(this.#rows.length === 0 ? none : text);
    } catch (error) {
      if (signal.aborted) return;
      if (cursor === null) this.forget();
      setText(`${this.#list.id}-text`, "This can’t be shown now.");
      if (error instanceof NoAnswer && isOfToken(error.code)) this.#refused(error);
    }
  }

  /** @param {string} text */
  #draw(text) {
    showBars(element(this.#list.id), this.#rows);
    setText(`${this.#list.id}-text`, text);
    const more = element(`${this.#list.id}-more`);
    // Whoever is on the button with the keyboard stays by the list.
    if (this.#next === null && more === document.activeElement) element(`${this.#list.id}-title`).focus();
    more.hidden = this.#next === null;
    this.#showOutdated(false);
  }

  /** @param {boolean} isOutdated */
  #showOutdated(isOutdated) {
    this.#isOutdated = isOutdated;
    element(this.#list.id).closest("section").setAttribute("aria-busy", String(isOutdated));
  }
}
