/**
 * What organizations and plans are called, besides their ids.
 *
 * @module
 */

import { NO_PLAN } from "./analytics-words.js";
import { ask } from "./ask.js";

const MOST = 500;

export class Names {
  /** The first ones; others go by their ids. @type {Map<string, string>} */
  organizations = new Map();
  /** @type {Map<string, string>} */
  #plans = new Map();
  #known = false;

  /** Once. @param {string} token @param {AbortSignal} signal @returns {Promise<void>} throws as `ask` */
  async learn(token, signal) {
    if (this.#known) return;
    const [organizations, plans] = await Promise.all(
      ["organizations", "plans"].map((kind) => ask(`/api/admin/${kind}?limit=${MOST}`, token, signal)),
    );
    for (const { id, name } of organizations.items) this.organizations.set(id, name);
    for (const { id, name } of plans.items) this.#plans.set(id, name);
    this.#known = true;
  }

  /** They may be others for another token. */
  forget() {
    this.organizations.clear();
    this.#plans.clear();
    this.#known = false;
  }

  /** @param {string | null} id */
  plan(id) {
    return id === null ? NO_PLAN : this.#plans.get(id) || id;
  }
}
