/**
 * A table of live sessions that keeps its rows, and with them the focus, while figures move.
 *
 * @module
 */

import { element, write } from "./page.js";

/**
 * @typedef {object} Column
 * @property {string} label
 * @property {(session: any) => string} [show] text, which is never taken for markup
 * @property {(cell: HTMLElement, session: any) => void} [fill] for what is more than text
 * @property {string} [style] a class of its cells
 */

export class SessionTable {
  #table = element("sessions");
  #body;
  #columns;
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();

  /** @param {Column[]} columns */
  constructor(columns) {
    this.#columns = columns;
    this.#body = this.#table.tBodies[0];
    for (const { label, style } of columns) {
      const head = document.createElement("th");
      head.scope = "col";
      head.setAttribute("role", "columnheader");
      head.className = style ?? "";
      head.textContent = label;
      this.#table.tHead.rows[0].append(head);
    }
  }

  /** @param {any[]} sessions in the order they are to be shown */
  show(sessions) {
    this.#table.hidden = sessions.length === 0;
    this.#removeAllBut(new Set(sessions.map((session) => session.session_id)));
    let place = this.#body.firstElementChild;
    for (const session of sessions) {
      const row = this.#rows.get(session.session_id) ?? this.#make(session.session_id);
      this.#columns.forEach((column, index) => fillCell(row.cells[index], column, session));
      if (row === place) place = place.nextElementSibling;
      else this.#body.insertBefore(row, place);
    }
  }

  /** @param {Set<string>} kept */
  #removeAllBut(kept) {
    for (const [id, row] of this.#rows) {
      if (kept.has(id)) continue;
      // Whoever is on the row with the keyboard shall not be thrown out of the page.
      if (row.contains(document.activeElement)) element("sessions-title").focus();
      row.remove();
      this.#rows.delete(id);
    }
  }

  /** @param {string} id */
  #make(id) {
    const row = document.createElement("tr");
    row.setAttribute("role", "row");
    row.dataset.testid = "session";
    for (const { label, style } of this.#columns) {
      const cell = row.insertCell();
      cell.setAttribute("role", "cell");
      cell.dataset.label = label;
      cell.className = style ?? "";
    }
    this.#rows.set(id, row);
    return row;
  }
}

/** @param {HTMLTableCellElement} cell @param {Column} column @param {any} session */
function fillCell(cell, { show, fill }, session) {
  if (fill) fill(cell, session);
  else if (show) write(cell, show(session));
}

/**
 * Names can be long: they are cut, and whole in the tip.
 *
 * @param {string} label
 * @param {(session: any) => string} name
 * @param {string} [style] `id` for those that have the room which is left
 * @returns {Column}
 */
export function nameColumn(label, name, style = "") {
  return {
    label,
    style: `name ${style}`,
    fill(cell, session) {
      const text = name(session);
      write(cell, text);
      if (cell.title !== text) cell.title = text;
    },
  };
}
