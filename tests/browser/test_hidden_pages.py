"""Pages that are hidden or frozen: a browser without Playwright, which would keep them awake."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import FLAGS
from tests.browser.raw_chromium import RawChromium, RawPage
from tests.browser.stub import StubGateway, wait_until
from tests.browser.test_client import OPEN

pytestmark = pytest.mark.browser


@pytest.fixture
def chromium(chromium_path: str, tmp_path: Path) -> Iterator[RawChromium]:
    with RawChromium(chromium_path, FLAGS, tmp_path) as chromium:
        yield chromium


@pytest.fixture
def hidden(chromium: RawChromium, stub: StubGateway) -> RawPage:
    """A page that counts, behind another one."""
    page = chromium.open(f"{stub.url}/elsewhere")
    assert page.evaluate(f"({OPEN})(['', {{}}])") == "connected"
    chromium.open("about:blank")
    wait_until(lambda: page.evaluate("document.visibilityState") == "hidden")
    page.evaluate("globalThis.ticks = 0; setInterval(() => (ticks += 1), 100); 0")
    return page


def test_a_hidden_page_goes_on_counting(hidden: RawPage, stub: StubGateway) -> None:
    began, before = time.monotonic(), len(stub.counted)
    wait_until(lambda: len(stub.counted) >= before + 5)
    assert hidden.evaluate("ticks") < 3 * (time.monotonic() - began), "its own timers are slow"
    assert len(stub.connections) == 1


@pytest.mark.parametrize("frozen_seconds", [3, 7])
def test_nothing_is_counted_for_a_frozen_page(
    hidden: RawPage, stub: StubGateway, frozen_seconds: int
) -> None:
    wait_until(lambda: stub.counted != set())
    hidden.call("Page.setWebLifecycleState", state="frozen")
    frozen_at = time.time() - stub.origin
    time.sleep(frozen_seconds)
    thawed_at = time.time() - stub.origin
    hidden.call("Page.setWebLifecycleState", state="active")
    wait_until(lambda: max(stub.counted) >= thawed_at + 1)
    assert len(stub.connections) == 2
    # The page's estimate of the server's clock is late by as long as `started` was under way.
    asleep = range(int(frozen_at) + 1, int(thawed_at) - 1)
    assert len(asleep) >= frozen_seconds - 2
    assert stub.counted.isdisjoint(asleep)
    assert min(stub.counted) <= frozen_at
