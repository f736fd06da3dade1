"""What an element of a page has said, and when: also what passes faster than a busy test looks."""

import time
from typing import Any

from playwright.sync_api import Page

WATCH = """(testId) => {
  const target = document.querySelector(`[data-testid="${testId}"]`);
  const texts = [];
  const note = () => texts.push([target.textContent, performance.now() / 1000]);
  const changes = { childList: true, characterData: true, subtree: true };
  new MutationObserver(note).observe(target, changes);
  note();
  (globalThis.seen ??= {})[testId] = texts;
}"""


class Seen:
    """The texts of an element from now on, as the page itself notes them."""

    def __init__(self, page: Page, test_id: str) -> None:
        self._page = page
        self._test_id = test_id
        page.evaluate(WATCH, test_id)

    def wait_for(self, *texts: str, timeout_seconds: float = 30) -> float:
        """Return once it has said all of these, in this order: when it said the last of them, in
        seconds of the page's clock."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            noted: list[Any] = self._page.evaluate("(id) => seen[id]", self._test_id)
            rest = iter(noted)
            found = [next((at for said, at in rest if said == text), None) for text in texts]
            if found[-1] is not None:
                at: float = found[-1]
                return at
            assert time.monotonic() < deadline, f"it said {noted}, and not all of {texts}"
            self._page.wait_for_timeout(20)
