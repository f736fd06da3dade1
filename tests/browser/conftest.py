"""A real Chromium with a pretended microphone. Where there is none, these tests are skipped."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests.browser.live import LiveGateway
from tests.browser.stub import StubGateway
from tests.ledger.servers import Valkey

FLAGS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
# Nothing is to be told of how busy the machine is: what comes, comes within that, and what does is
# waited for no longer.
PATIENCE_MS = 30_000
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium(playwright: Playwright) -> str | None:
    """`CHROMIUM`, an installed Chromium or Chrome, or the one Playwright has downloaded."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)


# A module's, not a session's: while it is open, no other test can run an event loop.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def chromium_path(playwright: Playwright) -> str:
    path = find_chromium(playwright)
    if path is None:
        pytest.skip("no Chromium: install it (Debian: `apt-get install chromium`) or set CHROMIUM")
    return path


@pytest.fixture(scope="module")
def browser(playwright: Playwright, chromium_path: str) -> Iterator[Browser]:
    try:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
    except Error as error:
        pytest.skip(f"Chromium at {chromium_path} does not start: {error.message.splitlines()[0]}")
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the page's console and the content security policy complained of."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Page:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None,
    )
    return page


@pytest.fixture
def stub() -> Iterator[StubGateway]:
    stub = StubGateway()
    yield stub
    stub.close()


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One that no other tests have sessions in."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def live(own_valkey: Valkey) -> Iterator[LiveGateway]:
    """A real gateway on an empty Valkey."""
    with own_valkey.client() as client:
        client.flushdb()
    live = LiveGateway(own_valkey.url)
    yield live
    live.close()
