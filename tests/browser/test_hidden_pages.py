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
    page.evaluate("globalThis.ticks = 0; setInterval(() => (ticks += 1), 100); 0")
    chromium.open("about:blank")
    assert page.evaluate("document.visibilityState") == "hidden"
    return page


def test_a_hidden_page_goes_on_counting(hidden: RawPage, stub: StubGateway) -> None:
    time.sleep(6)
    assert hidden.evaluate("ticks") < 20, "its own timers are slowed down"
    assert len(stub.counted) >= 5
    assert len(stub.connections) == 1


@pytest.mark.parametrize("frozen_seconds", [3, 7])
def test_nothing_is_counted_for_a_frozen_page(
    hidden: RawPage, stub: StubGateway, frozen_seconds: int
) -> None:
    time.sleep(1.5)
    frozen_at = time.time() - stub.origin
    hidden.call("Page.setWebLifecycleState", state="frozen")
    time.sleep(frozen_seconds)
    hidden.call("Page.setWebLifecycleState", state="active")
    thawed_at = time.time() - stub.origin
    wait_until(lambda: len(stub.connections) == 2)
    time.sleep(2.5)
    asleep = range(int(frozen_at) + 1, int(thawed_at))
    assert stub.counted.isdisjoint(asleep)
    assert max(stub.counted) >= thawed_at
    assert min(stub.counted) <= frozen_at
