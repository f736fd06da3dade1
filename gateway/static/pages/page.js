/**
 * What all pages share: text in elements, the connection, messages, and the token.
 *
 * @module
 */

import { monotonicSeconds } from "/client/socket.js";
import { CONNECTIONS } from "./words.js";

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/** As text, whatever it holds. @param {string} id @param {string | number} text */
export function setText(id, text) {
  write(element(id), text);
}

/** Nothing is touched that stays as it is. @param {Element} target @param {string | number} text */
export function write(target, text) {
  if (target.textContent !== String(text)) target.textContent = String(text);
}

/** @param {string} id @param {number} share from 0 to 1 */
export function fill(id, share) {
  element(id).style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
}

/** @param {string} state @param {number | null} retryAt */
export function showConnection(state, retryAt) {
  if (state === "ended") return;
  const wait = retryAt === null ? 0 : Math.max(0, Math.ceil(retryAt - monotonicSeconds()));
  element("connection").dataset.state = state;
  setText("connection-text", CONNECTIONS[state]);
  setText("connection-wait", `in ${wait} s`);
  element("connection-wait").hidden = state !== "waiting";
}

/** @param {string} reason @param {string} text */
export function showEnding(reason, text) {
  element("connection").dataset.state = "ended";
  element("connection").dataset.reason = reason;
  setText("connection-text", text);
  element("connection-wait").hidden = true;
}

/** @param {string} text empty to hide it */
export function showProblem(text) {
  setText("problem-text", text);
  element("problem-banner").hidden = text === "";
}

/** The page's token: out of the fragment of its address, or from the person before it. */
export class TokenForm {
  value = takeFromAddress();

  /** @param {(typed: boolean) => void} changed there is another token; `typed` says where it came from */
  constructor(changed) {
    element("token-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#use(element("token").value.trim());
      element("token").value = "";
      changed(true);
    });
    addEventListener("hashchange", () => {
      const found = takeFromAddress();
      if (found === "") return;
      this.#use(found);
      changed(false);
    });
  }

  /** The one there was is none, or no good. */
  ask() {
    this.value = "";
    element("token-form").hidden = false;
    element("token").focus();
  }

  /** @param {string} token */
  #use(token) {
    this.value = token;
    element("token-form").hidden = true;
  }
}

/** A token in the fragment never reaches a server, and leaves the address bar at once. */
function takeFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const found = fragment.get("token") ?? "";
  if (found !== "") history.replaceState(null, "", location.pathname + location.search);
  return found;
}
