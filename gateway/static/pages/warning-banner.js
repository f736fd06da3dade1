/**
 * The banner that warns of the limit, on the recorder's page and on `/usage`: what the server warned of,
 * as long as it is so, and on the recorder's page the last minute.
 *
 * @module
 */

import { Countdown } from "./countdown.js";
import { element, setText } from "./page.js";
import { LAST_MINUTE, stillHolds, warningText } from "./words.js";

/** @typedef {import("/client/types.js").Usage} Usage */

export class WarningBanner {
  /** @type {{ kind: string, value: number } | null} */
  #warning = null;
  #countdown = new Countdown();
  /** What the banner says, by a name; what was put away doesn't come again. */
  #name = "";
  #dismissed = "";

  constructor() {
    element("warning-dismiss").addEventListener("click", () => {
      this.#dismissed = this.#name;
      this.hide();
    });
  }

  /** @param {{ kind: string, value: number }} warning the server's */
  warn(warning) {
    this.#warning = warning;
  }

  /** Begin anew. */
  forget() {
    this.#warning = null;
    this.#dismissed = "";
    this.hide();
  }

  hide() {
    element("warning-banner").hidden = true;
  }

  /**
   * Show what there is to warn of now.
   *
   * @param {Usage | null} usage as last told
   * @param {number | null} [recorded] seconds that are recorded here; null when the last minute isn't counted down
   */
  refresh(usage, recorded = null) {
    const left = recorded === null ? null : this.#countdown.left(usage, recorded);
    if (this.#warning !== null && usage !== null && !stillHolds(this.#warning, usage)) this.#warning = null;
    this.#name = this.#nameOf(usage, left);
    element("warning-banner").hidden = this.#name === "" || this.#name === this.#dismissed;
    element("warning-countdown").hidden = left === null;
    setText("warning-countdown", left ?? "");
    if (left !== null) setText("warning-text", LAST_MINUTE);
    else if (this.#warning !== null) setText("warning-text", warningText(this.#warning.kind, this.#warning.value));
  }

  /** @param {Usage | null} usage @param {number | null} left */
  #nameOf(usage, left) {
    if (usage === null) return "";
    if (left !== null) return `last minute of ${usage.limit_seconds} ${usage.period_start}`;
    return this.#warning === null ? "" : `${this.#warning.kind} ${this.#warning.value} ${usage.period_start}`;
  }
}
