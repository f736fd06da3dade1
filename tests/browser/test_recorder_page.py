"""The page `/recorder`, used as a person would, against a gateway in the test."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.seen import Seen
from tests.browser.stub import StubGateway, usage, wait_until

pytestmark = pytest.mark.browser


def open_page(page: Page, stub: StubGateway) -> None:
    page.goto(f"{stub.url}/recorder#token=a-token")


def record(page: Page) -> None:
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_test_id("phase")).to_have_text("Recording")


def second_of_now(stub: StubGateway) -> int:
    """The second of the session that is under way."""
    return int(time.time() - stub.origin)


def number(page: Page, test_id: str) -> int:
    return int(page.get_by_test_id(test_id).inner_text())


def test_records_counts_and_keeps_the_file(
    page: Page, stub: StubGateway, complaints: list[str]
) -> None:
    stub.durable_through = 1
    open_page(page, stub)
    assert page.url == f"{stub.url}/recorder"
    record(page)
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")
    expect(page.get_by_test_id("session-time")).to_have_text(re.compile(r"^00:(0[4-9]|\d\d)$"))
    expect(page.get_by_test_id("seconds-counted")).to_have_text(re.compile(r"^([4-9]|\d\d)$"))
    assert number(page, "seconds-safe") < 4
    expect(page.get_by_test_id("safety-text")).to_contain_text("kept here until")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_test_id("phase")).to_have_text("Recorded")
    assert number(page, "seconds-counted") == len(stub.counted)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"recording-[\d-]+\.webm", download.value.suggested_filename)
    assert download.value.path().stat().st_size > 1000
    assert stub.frames("start")[0]["token"] == "a-token"
    assert complaints == []


def test_a_pause_is_not_counted(page: Page, stub: StubGateway) -> None:
    open_page(page, stub)
    record(page)
    wait_until(lambda: len(stub.counted) >= 2)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_test_id("phase")).to_have_text("Paused")
    first = second_of_now(stub) + 1
    page.wait_for_timeout(3200)
    end = second_of_now(stub)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_test_id("phase")).to_have_text("Recording")
    wait_until(lambda: max(stub.counted) > end)
    # The page's estimate of the server's clock is late by as long as `started` was under way.
    paused = range(first, end - 1)
    assert len(paused) >= 1
    assert stub.counted.isdisjoint(paused)


def test_a_token_can_be_pasted(page: Page, stub: StubGateway) -> None:
    page.goto(f"{stub.url}/recorder")
    expect(page.get_by_role("button", name="Record")).to_be_disabled()
    expect(page.get_by_label("Access token")).to_be_focused()
    page.keyboard.type("pasted")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("token-form")).to_be_hidden()
    expect(page.get_by_role("button", name="Record")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("phase")).to_have_text("Recording")
    assert stub.frames("start")[0]["token"] == "pasted"
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


def test_a_gateway_that_goes_away_costs_no_second(page: Page, stub: StubGateway) -> None:
    stub.durable_through = 0
    open_page(page, stub)
    record(page)
    wait_until(lambda: len(stub.counted) >= 2)
    connection = Seen(page, "connection-text")
    forgotten = {second for second in stub.counted if second > 0}
    stub.counted -= forgotten
    stub.disconnect(1012)
    connection.wait_for("Reconnecting", "Connected")
    expect(page.get_by_test_id("connection-wait")).to_have_text(re.compile(r"in \d s"))
    wait_until(lambda: forgotten <= stub.counted)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_test_id("phase")).to_have_text("Recorded")
    first, last = min(stub.counted), max(stub.counted)
    assert stub.counted == set(range(first, last + 1))
    assert number(page, "seconds-counted") == last - first + 1


def test_a_warning_is_shown_and_can_be_dismissed(page: Page, stub: StubGateway) -> None:
    stub.usage = usage(35_400, 36_000)
    open_page(page, stub)
    record(page)
    stub.send({"type": "warning", "kind": "remaining_minutes", "value": 10, "usage": stub.usage})
    banner = page.get_by_test_id("warning-banner")
    expect(banner).to_contain_text("10 minutes of recording left this month.")
    banner.get_by_role("button", name="Dismiss").click()
    expect(banner).to_be_hidden()


def test_a_warning_is_withdrawn_when_the_limit_is_raised(page: Page, stub: StubGateway) -> None:
    stub.usage = usage(35_400, 36_000)
    open_page(page, stub)
    record(page)
    stub.send({"type": "warning", "kind": "remaining_minutes", "value": 10, "usage": stub.usage})
    expect(page.get_by_test_id("warning-banner")).to_be_visible()
    stub.usage = usage(35_400, 72_000)
    expect(page.get_by_test_id("warning-banner")).to_be_hidden()


def test_the_last_minute_is_counted_down_until_more_is_left(page: Page, stub: StubGateway) -> None:
    stub.usage = usage(35_977, 36_000)
    open_page(page, stub)
    record(page)
    banner = page.get_by_test_id("warning-banner")
    expect(banner).to_contain_text("The last minute of this month")
    countdown = page.get_by_test_id("warning-countdown")
    expect(countdown).to_have_text(re.compile(r"^(1?\d|2[01])$"))
    stub.silent = True  # no figures: the recorder's own seconds count down
    page.wait_for_timeout(500)  # nor any that are on their way
    left = int(countdown.inner_text())
    expect(countdown).to_have_text(re.compile(rf"^({'|'.join(map(str, range(left - 2)))})$"))
    stub.silent = False
    stub.usage = usage(35_977, 72_000)
    expect(banner).to_be_hidden()


def test_at_the_limit_a_countdown_runs_and_the_file_is_kept(page: Page, stub: StubGateway) -> None:
    open_page(page, stub)
    record(page)
    wait_until(lambda: stub.counted != set())
    stub.usage = usage(36_000, 36_000)
    stub.send({"type": "warning", "kind": "percent", "value": 100, "usage": stub.usage})
    stub.send({"type": "stop", "reason": "limit_reached", "last_second": 1, "grace_seconds": 2})
    banner = page.get_by_role("alert")
    expect(banner.first).to_contain_text("recording time is used up.")
    told = second_of_now(stub)
    expect(page.get_by_test_id("stop-countdown")).to_have_text(re.compile(r"^[01]$"))
    expect(page.get_by_test_id("phase")).to_have_text("Recorded")
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.get_by_test_id("warning-banner")).to_be_hidden()
    assert max(stub.counted) <= max(1, told)  # what was sent before it was told, is sent


def test_a_session_that_an_operator_ends_keeps_the_file(page: Page, stub: StubGateway) -> None:
    open_page(page, stub)
    record(page)
    stub.disconnect(4503)
    expect(page.get_by_test_id("connection-text")).to_have_text("Ended by an administrator")
    expect(page.get_by_test_id("phase")).to_have_text("Recorded")
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    page.wait_for_timeout(1200)
    assert len(stub.connections) == 1


def test_without_minutes_left_recording_does_not_begin(page: Page, stub: StubGateway) -> None:
    stub.refuse_start = (4500, "limit_reached")
    open_page(page, stub)
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_test_id("problem-banner")).to_contain_text("recording time is used up")
    expect(page.get_by_test_id("phase")).to_have_text("Ready to record")
    expect(page.get_by_role("button", name="Record")).to_be_enabled()


def test_a_refused_token_is_asked_for_again(page: Page, stub: StubGateway) -> None:
    stub.refuse_start = (4505, "token_refused")
    open_page(page, stub)
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_test_id("problem-banner")).to_contain_text("The token was refused")
    expect(page.get_by_label("Access token")).to_be_focused()
    stub.refuse_start = None
    page.keyboard.type("better")
    page.keyboard.press("Enter")
    record(page)


def test_a_second_recording_is_another_session(page: Page, stub: StubGateway) -> None:
    open_page(page, stub)
    for _ in range(2):
        record(page)
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_test_id("phase")).to_have_text("Recorded")
    first, second = stub.frames("start")
    assert first["session_id"] != second["session_id"]


@pytest.mark.parametrize(
    ("used", "limit", "level", "mark"),
    [
        (3600, 36_000, "fine", ""),
        (35_500, 36_000, "near", "Near the limit"),
        (36_000, 36_000, "over", "Limit reached"),
        (3600, None, "unlimited", ""),
    ],
)
def test_shows_the_months_usage(
    page: Page, stub: StubGateway, used: int, limit: int | None, level: str, mark: str
) -> None:
    stub.usage = usage(used, limit)
    open_page(page, stub)
    record(page)
    card = page.get_by_test_id("usage")
    expect(card).to_have_attribute("data-level", level)
    expect(page.get_by_test_id("usage-mark")).to_have_text(mark)
    expect(page.get_by_test_id("usage-mark")).to_be_visible(visible=mark != "")
    bar = page.get_by_test_id("usage-bar")
    if limit is None:
        expect(bar).to_be_hidden()
        expect(page.get_by_test_id("usage-text")).to_have_text(
            re.compile("No limit. November 1 . 30")
        )
    else:
        expect(bar).to_have_attribute("aria-valuenow", str(min(100, round(used / limit * 100))))
        expect(page.get_by_test_id("usage-of")).to_have_text("of 10 h")
    expect(page.get_by_test_id("usage-amount")).to_have_text(re.compile(r"^(1 h|9 h 51 min|10 h)$"))


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_fits_every_width(page: Page, stub: StubGateway, complaints: list[str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(f"{stub.url}/recorder")
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
    for name in ("Record", "Pause", "Stop"):
        expect(page.get_by_role("button", name=name)).to_be_visible()
    assert complaints == []


def test_its_policy_forbids_inline_scripts(page: Page, stub: StubGateway) -> None:
    open_page(page, stub)
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) =>
            resolve(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "globalThis.broken = true";
          document.body.append(script);
        })"""
    )
    assert blocked == "script-src-elem"
