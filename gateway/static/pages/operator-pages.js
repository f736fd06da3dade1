/**
 * The way between the operators' pages: the token goes along, as it does in a link to a page.
 *
 * @module
 */

/** @param {() => string} token of now */
export function linkOperatorPages(token) {
  for (const link of document.querySelectorAll("a[data-operators]")) {
    const { pathname } = /** @type {HTMLAnchorElement} */ (link);
    if (pathname === location.pathname) link.setAttribute("aria-current", "page");
    link.addEventListener("click", (event) => {
      const { button, ctrlKey, metaKey, shiftKey, altKey } = /** @type {MouseEvent} */ (event);
      // Another tab, or a download: as the browser does it, and the token is asked for there.
      if (button !== 0 || ctrlKey || metaKey || shiftKey || altKey || token() === "") return;
      event.preventDefault();
      if (pathname !== location.pathname) location.assign(`${pathname}#${new URLSearchParams({ token: token() })}`);
    });
  }
}
