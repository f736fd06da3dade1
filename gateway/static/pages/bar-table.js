/**
 * A table whose rows have a bar each, beneath their names: a chart that can be read out.
 *
 * @module
 */

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {string} [note] besides the name
 * @property {number} amount what the bar is as long as
 * @property {string[]} cells
 * @property {() => void} [choose] the name can be pressed
 */

/** Nothing in it is ever taken for markup. @param {HTMLTableElement} table @param {Row[]} rows */
export function showBars(table, rows) {
  const most = Math.max(1, ...rows.map(({ amount }) => amount));
  table.hidden = rows.length === 0;
  table.tBodies[0].replaceChildren(...rows.map((row) => barRow(row, most)));
}

/** @param {Row} row @param {number} most */
function barRow({ name, note, amount, cells, choose }, most) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const share = part("span", "share", "");
  share.setAttribute("aria-hidden", "true");
  share.style.width = `${(100 * Math.max(0, amount)) / most}%`;
  head.append(choose === undefined ? part("span", "name", name) : chooser(name, choose));
  if (note !== undefined) head.append(" ", part("span", "note", note));
  head.append(share);
  row.append(head, ...cells.map((cell) => part("td", "number", cell)));
  return row;
}

/** @param {string} name @param {() => void} choose */
function chooser(name, choose) {
  const button = /** @type {HTMLButtonElement} */ (part("button", "name", name));
  button.type = "button";
  button.addEventListener("click", choose);
  return button;
}

/** @param {string} kind @param {string} style @param {string} text */
function part(kind, style, text) {
  const made = document.createElement(kind);
  made.className = style;
  made.textContent = text;
  if (style === "name" || style === "note") made.title = text;
  return made;
}

/** @param {HTMLTableElement} table @param {string[][]} rows the first cell of each is its name */
export function showRows(table, rows) {
  table.tBodies[0].replaceChildren(...rows.map(([name, ...cells]) => {
    const row = document.createElement("tr");
    const head = part("th", "", name);
    head.setAttribute("scope", "row");
    row.append(head, ...cells.map((cell) => part("td", "number", cell)));
    return row;
  }));
}
