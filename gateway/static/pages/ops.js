/**
 * The page `/ops`: all live sessions, for operators, who can stop them.
 *
 * @module
 */

import { linkOperatorPages } from "./operator-pages.js";
import { element, setText, showProblem, write } from "./page.js";
import { SessionTable, nameColumn } from "./sessions.js";
import { WatchingPage } from "./watching-page.js";
import { count, listText, quoted, stopFailedText, stoppedText, timeText } from "./watch-words.js";
import { clockText } from "./words.js";

/** @typedef {{ session_id: string, organization_id: string, user_id: string }} Session */

const PAGE_SIZE = 50;
const LARGEST_SHOWN = 8;

/** Which page is watched; `before` are the places of those that led here. */
const chosen = {
  /** @type {string | null} */
  organization: null,
  /** @type {string | null} */
  cursor: null,
  /** @type {(string | null)[]} */
  before: [],
};
/** @type {string | null} */
let next = null;
/** Asked to stop, and not answered. @type {Map<string, Session>} */
const stopping = new Map();

const table = new SessionTable([
  nameColumn("User", ({ user_id }) => user_id, "id"),
  nameColumn("Organization", ({ organization_id }) => organization_id, "id"),
  nameColumn("Kind", ({ kind }) => kind),
  { label: "Began", show: ({ started_at }) => timeText(started_at), style: "number" },
  { label: "Counted", show: ({ session_seconds }) => clockText(session_seconds), style: "number" },
  { label: "State", fill: fillState, style: "state" },
  { label: "Stop", fill: fillStop, style: "action" },
]);

const page = new WatchingPage({
  path: "/v1/ops",
  scope: "admin",
  fields,
  changed() {
    stopping.clear();
    table.show([]);
    element("organizations").replaceChildren();
    for (const id of ["sessions-text", "organizations-text"]) setText(id, "");
    choose(null);
  },
  connected() {
    // What was not answered on the last connection; a stop may be repeated.
    for (const id of stopping.keys()) page.send({ type: "stop", session_id: id });
  },
  hear: {
    sessions: showPage,
    stopped(message) {
      showNotice(stoppedText(message, stopping.get(message.session_id)?.user_id ?? ""));
      stopping.delete(message.session_id);
    },
    refused({ session_id: id, code, message }) {
      if (id === undefined) return showProblem(message);
      stopping.delete(id);
      showNotice(stopFailedText(code, message));
    },
  },
});

function fields() {
  return { organization_id: chosen.organization, limit: PAGE_SIZE, cursor: chosen.cursor };
}

/** @param {any} message */
function showPage(message) {
  if (message.organization_id !== chosen.organization || (message.cursor ?? null) !== chosen.cursor) return;
  next = message.next_cursor;
  page.showLive(message.total);
  table.show(message.sessions);
  showOrganizations(message);
  setText("sessions-text", pageText(message));
  showPaging();
}

/** @param {any} message */
function pageText({ sessions, total, organization_id: organization }) {
  const whose = organization === null ? "" : ` Only those of ${quoted(organization)} are shown.`;
  if (total > 0 && sessions.length === 0) return `None of them began before this place.${whose}`;
  return listText(sessions.length, total) + whose;
}

function showPaging() {
  element("paging").hidden = chosen.cursor === null && next === null;
  for (const id of ["newest", "newer"]) setDisabled(element(id), chosen.cursor === null);
  setDisabled(element("older"), next === null);
}

/** A button that is switched off keeps the focus. @param {HTMLElement} button @param {boolean} disabled */
function setDisabled(button, disabled) {
  button.setAttribute("aria-disabled", String(disabled));
}

/** @param {{ organizations: number, by_organization: Record<string, number> }} message */
function showOrganizations({ organizations, by_organization: sessions }) {
  // Keys that look like numbers come first in an object, whatever their order was.
  const largest = Object.entries(sessions).sort(([, one], [, other]) => other - one);
  const most = largest[0]?.[1] ?? 1;
  const list = element("organizations");
  const shown = largest.slice(0, LARGEST_SHOWN);
  while (list.children.length > shown.length) list.lastElementChild.remove();
  while (list.children.length < shown.length) list.append(organizationItem());
  shown.forEach(([organization, live], index) => fillOrganization(list.children[index], organization, live, live / most));
  const rest = organizations - shown.length;
  setText("organizations-text", organizations === 0 ? "None has live sessions." : rest > 0 ? `And ${count(rest)} more.` : "");
  element("everyone").hidden = chosen.organization === null;
  element("known").replaceChildren(...largest.map(([organization]) => new Option(organization, organization)));
}

function organizationItem() {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.append(...["name", "live", "share"].map((style) => {
    const part = document.createElement("span");
    part.className = style;
    return part;
  }));
  button.addEventListener("click", () => {
    const { organization = null } = button.dataset;
    choose(organization === chosen.organization ? null : organization);
  });
  item.append(button);
  return item;
}

/** @param {Element} item @param {string} organization @param {number} live @param {number} share from 0 to 1 */
function fillOrganization(item, organization, live, share) {
  const button = /** @type {HTMLButtonElement} */ (item.firstElementChild);
  const [name, number, bar] = /** @type {any} */ (button.children);
  button.dataset.organization = organization;
  button.title = organization;
  button.setAttribute("aria-pressed", String(organization === chosen.organization));
  write(name, organization);
  write(number, count(live));
  bar.style.width = `${share * 100}%`;
}

/** @param {HTMLElement} cell @param {any} session */
function fillState(cell, { paused, last_seen: seen }) {
  write(cell, paused ? "Paused" : "Recording");
  cell.dataset.paused = String(paused);
  cell.title = `Last sign of life: ${timeText(seen)}`;
}

/** @param {HTMLElement} cell @param {Session} session */
function fillStop(cell, session) {
  let button = /** @type {HTMLButtonElement | null} */ (cell.firstElementChild);
  if (button === null) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "button quiet";
    button.addEventListener("click", () => void confirmStop(session));
    cell.append(button);
  }
  const asked = stopping.has(session.session_id);
  write(button, asked ? "Stopping …" : "Stop");
  button.setAttribute("aria-label", `Stop the session of ${session.user_id}`);
  setDisabled(button, asked);
}

/** @param {Session} session */
function confirmStop(session) {
  if (stopping.has(session.session_id)) return;
  setText("confirm-organization", session.organization_id);
  setText("confirm-user", session.user_id);
  setText("confirm-session", session.session_id);
  const dialog = element("confirm");
  dialog.returnValue = "cancel";
  dialog.onclose = () => {
    if (dialog.returnValue === "stop") stop(session);
  };
  dialog.showModal();
}

/** @param {Session} session */
function stop(session) {
  stopping.set(session.session_id, session);
  showNotice(`Stopping the session of ${quoted(session.user_id)} …`);
  page.send({ type: "stop", session_id: session.session_id });
}

/** @param {string} text */
function showNotice(text) {
  setText("notice-text", text);
  element("notice-banner").hidden = false;
}

/** Another filter, and its first page. @param {string | null} organization null: all */
function choose(organization) {
  chosen.organization = organization;
  element("organization").value = organization ?? "";
  page.forgetLive();
  turn(null, []);
}

/** @param {string | null} cursor @param {(string | null)[]} before */
function turn(cursor, before) {
  chosen.cursor = cursor;
  chosen.before = before;
  showProblem("");
  page.choose(fields());
}

/** @param {string} id @param {() => void} act */
function onClick(id, act) {
  const button = element(id);
  button.addEventListener("click", () => button.getAttribute("aria-disabled") !== "true" && act());
}

onClick("newest", () => turn(null, []));
onClick("newer", () => turn(chosen.before.at(-1) ?? null, chosen.before.slice(0, -1)));
onClick("older", () => turn(next, [...chosen.before, chosen.cursor]));
onClick("everyone", () => {
  choose(null);
  element("organization").focus();
});
element("filter").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  choose(element("organization").value.trim() || null);
});
element("notice-dismiss").addEventListener("click", () => {
  element("notice-banner").hidden = true;
});
linkOperatorPages(() => page.token);
