/**
 * A figure over the last minutes, as it was told: a line of steps, with gaps where nothing was known.
 *
 * @module
 */

import { element, setText } from "./page.js";
import { trendText } from "./watch-words.js";

const WINDOW_SECONDS = 600;
/** The narrowest of these that holds all that was watched is drawn, in seconds. */
const WINDOWS = [60, 120, 300, WINDOW_SECONDS];
const WIDTH = 600;
const HEIGHT = 100;

/** @typedef {{ at: number, value: number | null }} Sample from `at` on; null where nothing was known */

/** What was told of a figure. Pure. */
export class History {
  /** @type {Sample[]} */
  #samples = [];

  /** @param {number} at seconds @param {number | null} value null: it isn't known from here on */
  add(at, value) {
    if (this.#samples.at(-1)?.value !== value) this.#samples.push({ at, value });
    const first = this.#samples.findLastIndex((sample) => sample.at <= at - WINDOW_SECONDS);
    if (first > 0) this.#samples.splice(0, first);
  }

  /** Begin anew. */
  forget() {
    this.#samples = [];
  }

  /**
   * The stretches of the last minutes in which it was known, each to where the next begins.
   *
   * @param {number} now
   * @returns {{ from: number, to: number, value: number }[]} in seconds before now
   */
  steps(now) {
    const steps = [];
    for (const [index, { at, value }] of this.#samples.entries()) {
      const from = Math.min(WINDOW_SECONDS, now - at);
      const to = Math.max(0, now - (this.#samples[index + 1]?.at ?? now));
      if (value !== null && from >= to && to < WINDOW_SECONDS) steps.push({ from, to, value });
    }
    return steps;
  }
}

/** @param {History} history @param {number} now */
export function showTrend(history, now) {
  const steps = history.steps(now);
  const values = steps.map(({ value }) => value);
  const watched = Math.max(0, ...steps.map(({ from }) => from));
  const span = WINDOWS.find((seconds) => seconds >= watched) ?? WINDOW_SECONDS;
  const most = roundUp(Math.max(0, ...values));
  setText("trend-most", most);
  setText("trend-span", `${span / 60} min ago`);
  element("trend-line").setAttribute("d", line(steps, span, most));
  element("trend-area").setAttribute("d", area(steps, span, most));
  if (steps.length > 0) {
    setText("trend-text", trendText(watched >= WINDOW_SECONDS, Math.min(...values), Math.max(...values)));
  }
}

/** The next of 4, 10, 20, 40, 100, … @param {number} most */
function roundUp(most) {
  let scale = 4;
  while (scale < most) scale *= String(scale).startsWith("4") ? 2.5 : 2;
  return scale;
}

const across = (/** @type {number} */ age, /** @type {number} */ span) => (WIDTH * (1 - age / span)).toFixed(1);
const down = (/** @type {number} */ value, /** @type {number} */ most) => (HEIGHT * (1 - value / most)).toFixed(1);

/** @typedef {ReturnType<History["steps"]>} Steps */

/** @param {Steps} steps @param {number} span seconds @param {number} most */
function line(steps, span, most) {
  let path = "";
  let end = NaN;
  for (const { from, to, value } of steps) {
    path += `${from === end ? "L" : "M"}${across(from, span)} ${down(value, most)}H${across(to, span)}`;
    end = to;
  }
  return path;
}

/** @param {Steps} steps @param {number} span seconds @param {number} most */
function area(steps, span, most) {
  const boxes = steps.map(({ from, to, value }) => {
    return `M${across(from, span)} ${HEIGHT}V${down(value, most)}H${across(to, span)}V${HEIGHT}Z`;
  });
  return boxes.join("");
}
