"""The page `/usage`: against a real gateway with a real Valkey, and against one that misbehaves."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.live import LiveGateway
from tests.browser.seen import Seen
from tests.browser.stub import Message, StubGateway, month, usage, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration]

HOSTILE = '<img src=x onerror="globalThis.broken=true">'


def account(figures: Message, *sessions: Message) -> Message:
    """A dashboard's message."""
    return {
        "type": "usage",
        "usage": figures,
        "active_session_count": len(sessions),
        "active_sessions": list(sessions),
    }


def session(number: int = 1, **fields: object) -> Message:
    """A live session."""
    return {
        "session_id": f"00000000-0000-4000-8000-{number:012}",
        "user_id": f"user-{number}",
        "kind": "interview",
        "started_at": 1795227916,
        "session_seconds": 61,
        **fields,
    }


def warning(kind: str, value: int, figures: Message) -> Message:
    return {"type": "warning", "kind": kind, "value": value, "usage": figures}


def open_page(page: Page, stub: StubGateway, shown: Message | None = None) -> None:
    stub.shown = shown or account(usage(61, 600))
    page.goto(f"{stub.url}/usage#token=a-token")
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")


def test_live_sessions_come_move_and_go(
    page: Page, live: LiveGateway, complaints: list[str]
) -> None:
    page.route("**/api/**", lambda route: route.fulfill(json=month(0, subscription=None)))
    live.storage.limits["acme"] = 3600
    page.goto(live.link("usage", "acme", "usage"))
    assert page.url == f"{live.url}/usage"
    expect(page.get_by_test_id("usage-of")).to_have_text("of 1 h")
    expect(page.get_by_test_id("sessions-text")).to_have_text("No sessions are live.")
    one, other = live.record("acme", "ada"), live.record("acme", "ben", "standup")
    expect(page.get_by_test_id("session")).to_have_count(2)
    expect(page.get_by_test_id("live-count")).to_have_text("2")
    one.hear(0, 89)
    expect(page.get_by_test_id("usage-amount")).to_have_text("1 min 30 s")
    expect(page.get_by_test_id("session").filter(has_text="ada")).to_contain_text("01:30")
    expect(page.get_by_test_id("rate")).to_have_text("1 min 30 s")
    expect(page.get_by_test_id("trend-text")).to_contain_text("0 to 2")
    other.stop()
    expect(page.get_by_test_id("session")).to_have_count(1)
    expect(page.get_by_test_id("session")).not_to_contain_text("standup")
    assert complaints == []


def test_it_warns_prompts_and_tells_of_the_stop(page: Page, live: LiveGateway) -> None:
    live.storage.limits["acme"] = 60
    page.goto(live.link("usage", "acme", "usage"))
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")
    recorder = live.record("acme")
    recorder.hear(0, 53)
    expect(page.get_by_test_id("warning-banner")).to_contain_text("90 % of this month")
    expect(page.get_by_test_id("upgrade")).to_contain_text("Change to a larger plan")
    expect(page.get_by_test_id("status")).to_have_text("Active")
    recorder.hear(54, 99)
    stop = page.get_by_test_id("stop-banner")
    expect(stop).to_contain_text("recording time is used up. Live sessions are being stopped.")
    expect(page.get_by_test_id("stop-countdown")).to_have_text(re.compile(r"^\d+$"))
    expect(page.get_by_test_id("warning-banner")).to_be_hidden()
    expect(page.get_by_test_id("usage-text")).to_contain_text("Nothing left.")
    expect(page.get_by_test_id("usage-amount")).to_have_text("1 min")
    expect(page.get_by_test_id("status")).to_have_text("Stopped: nothing is left")


def test_it_goes_on_when_the_gateway_is_back(page: Page, live: LiveGateway) -> None:
    page.goto(live.link("usage", "acme", "usage"))
    live.record("acme").hear(0, 9)
    expect(page.get_by_test_id("usage-amount")).to_have_text("10 s")
    live.stop()
    expect(page.get_by_test_id("connection-text")).to_have_text("Reconnecting")
    live.start()
    live.record("acme", "ben").hear(0, 4)
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")
    expect(page.get_by_test_id("usage-amount")).to_have_text("15 s")


def test_a_token_for_recording_only_is_explained_and_replaced(
    page: Page, live: LiveGateway
) -> None:
    page.goto(live.link("usage", "acme", "record"))
    expect(page.get_by_test_id("problem-banner")).to_contain_text(
        "needs one with the scope “usage”"
    )
    expect(page.get_by_test_id("connection-text")).to_have_text("Not connected: not allowed")
    expect(page.get_by_label("Access token")).to_be_focused()
    page.keyboard.type(live.link("usage", "acme", "usage").partition("#token=")[2])
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")
    expect(page.get_by_test_id("problem-banner")).to_be_hidden()
    expect(page.get_by_test_id("token-form")).to_be_hidden()


def test_the_token_is_sent_in_the_first_frame_and_kept_nowhere(
    page: Page, stub: StubGateway, complaints: list[str]
) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    open_page(page, stub)
    assert stub.frames("subscribe") == [{"type": "subscribe", "token": "a-token"}]
    assert page.url == f"{stub.url}/usage"
    assert requests != []
    assert not [url for url in requests[1:] if "a-token" in url]
    wait_until(lambda: stub.bearers == ["Bearer a-token"] * 2)
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
        0,
        0,
        "",
    ]
    assert complaints == []


def test_hostile_ids_are_text(page: Page, stub: StubGateway, complaints: list[str]) -> None:
    open_page(page, stub, account(usage(1, 600), session(user_id=HOSTILE, kind=HOSTILE)))
    expect(page.get_by_role("cell", name=HOSTILE)).to_have_count(2)
    assert page.locator("main img").count() == 0
    assert page.evaluate("globalThis.broken") is None
    assert complaints == []


def test_overage_is_apart(page: Page, stub: StubGateway) -> None:
    open_page(page, stub, account(usage(600, 600, overage=75), session()))
    expect(page.get_by_test_id("usage-amount")).to_have_text("10 min")
    expect(page.get_by_test_id("usage-overage")).to_have_text(
        "Besides, 1 min 15 s past the limit, billed as overage."
    )
    expect(page.get_by_test_id("status")).to_have_text("Recording on, as overage")
    stub.send({"type": "stop", "reason": "limit_reached", "last_second": -1, "grace_seconds": 2})
    expect(page.get_by_test_id("status")).to_have_text("Stopped: nothing is left")
    expect(page.get_by_test_id("stop-banner")).to_contain_text("No recording can begin.")


@pytest.mark.parametrize(
    ("limit", "beside"),
    [(18_000, "of 5 h, 1 h 56 min in credit"), (None, "recorded, 1 h 56 min in credit")],
)
def test_a_credit_is_said_and_the_bar_is_empty(
    page: Page, stub: StubGateway, limit: int | None, beside: str
) -> None:
    open_page(page, stub, account(usage(-7000, limit)))
    expect(page.get_by_test_id("usage-amount")).to_have_text("0 s")
    expect(page.get_by_test_id("usage-of")).to_have_text(beside)
    if limit is None:
        return
    bar = page.get_by_test_id("usage-bar")
    expect(bar).to_have_attribute("aria-valuenow", "0")
    expect(bar).to_have_attribute("aria-valuetext", f"0 s {beside}")
    expect(page.get_by_test_id("usage-text")).to_contain_text("6 h 56 min left.")
    expect(page.get_by_test_id("status")).to_have_text("Active")


def test_without_a_limit_it_says_so(page: Page, stub: StubGateway) -> None:
    open_page(page, stub, account(usage(4000, None)))
    expect(page.get_by_test_id("usage-amount")).to_have_text("1 h 6 min")
    expect(page.get_by_test_id("usage-text")).to_contain_text("No limit.")
    expect(page.get_by_test_id("usage-bar")).to_be_hidden()
    expect(page.get_by_test_id("status")).to_have_text("Active, without a limit")
    expect(page.get_by_test_id("upgrade")).to_be_hidden()


def test_the_days_the_plan_and_ones_own_part_are_shown(page: Page, stub: StubGateway) -> None:
    plan = {"plan_name": "Professional", "status": "past_due"}
    stub.answers["/api/billing/subscription-info"] = {"subscription": plan}
    open_page(page, stub)
    expect(page.get_by_test_id("plan")).to_contain_text("Professional, past due")
    expect(page.get_by_test_id("mine")).to_contain_text("1 min 15 s")
    expect(page.get_by_test_id("days").get_by_role("listitem")).to_have_count(30)
    expect(page.get_by_title("November 21: 1 h")).to_be_visible()
    expect(page.get_by_title("November 22: 0 s")).to_be_visible()
    expect(page.get_by_test_id("month-text")).to_contain_text(
        "about 1 h 30 min at the end of the month, and the limit is reached on November 27."
    )


def test_what_was_shown_goes_with_its_token(page: Page, stub: StubGateway) -> None:
    open_page(page, stub, account(usage(61, 600), session()))
    expect(page.get_by_test_id("month")).to_be_visible()
    stub.shown = None  # nothing is known of the next account
    page.evaluate("location.hash = '#token=another'")
    wait_until(lambda: stub.frames("subscribe")[-1]["token"] == "another")
    expect(page.get_by_test_id("usage-amount")).not_to_have_text(re.compile(r"\d"))
    expect(page.get_by_test_id("live-count")).not_to_have_text(re.compile(r"\d"))
    expect(page.get_by_test_id("session")).to_have_count(0)
    expect(page.get_by_test_id("month")).to_be_hidden()


def test_a_members_limit_is_theirs(page: Page, stub: StubGateway) -> None:
    open_page(page, stub, account(usage(550, 600, "member")))
    expect(page.get_by_test_id("usage-text")).to_contain_text("Your own limit")
    expect(page.get_by_test_id("upgrade")).to_contain_text("raise your own limit")


def test_a_warning_that_was_put_away_stays_away_over_a_reconnect(
    page: Page, stub: StubGateway
) -> None:
    figures = usage(550, 600)
    open_page(page, stub, account(figures))
    stub.send(warning("percent", 90, figures))
    banner = page.get_by_test_id("warning-banner")
    banner.get_by_role("button", name="Dismiss").click()
    stub.disconnect(4003)
    wait_until(lambda: len(stub.connections) == 2)
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")
    stub.send(warning("percent", 90, figures))
    stub.send(account(usage(551, 600)))
    expect(page.get_by_test_id("usage-amount")).to_have_text("9 min 11 s")
    expect(banner).to_be_hidden()
    stub.send(warning("remaining_minutes", 1, usage(560, 600)))
    expect(banner).to_contain_text("1 minute of recording left")


def test_warnings_and_stops_are_withdrawn_when_the_limit_is_raised(
    page: Page, stub: StubGateway
) -> None:
    open_page(page, stub, account(usage(600, 600)))
    stub.send(warning("percent", 100, usage(600, 600)))
    expect(page.get_by_test_id("warning-banner")).to_be_visible()
    stub.send({"type": "stop", "reason": "limit_reached", "last_second": -1, "grace_seconds": 9})
    expect(page.get_by_test_id("stop-banner")).to_be_visible()
    stub.send(account(usage(600, 6000)))
    expect(page.get_by_test_id("stop-banner")).to_be_hidden()
    expect(page.get_by_test_id("warning-banner")).to_be_hidden()
    expect(page.get_by_test_id("status")).to_have_text("Active")


def test_a_drain_moves_it_to_another_gateway(page: Page, stub: StubGateway) -> None:
    open_page(page, stub)
    connection = Seen(page, "connection-text")
    stub.send({"type": "drain", "reconnect_after_ms": 900})
    stub.disconnect(4000)
    connection.wait_for("Moving to another gateway …", "Reconnecting", "Connected")
    assert len(stub.connections) == 2


def test_an_expired_token_is_asked_for(page: Page, stub: StubGateway) -> None:
    stub.refuse_start = (4001, "token_expired")
    page.goto(f"{stub.url}/usage#token=old")
    expect(page.get_by_test_id("problem-banner")).to_contain_text("The token has expired.")
    expect(page.get_by_label("Access token")).to_be_focused()
    page.wait_for_timeout(1200)
    assert len(stub.connections) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_every_width(
    page: Page, stub: StubGateway, complaints: list[str], width: int, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 740})
    long = session(2, user_id="x" * 500, kind="k" * 64)
    open_page(page, stub, account(usage(590, 600, overage=5), session(), long))
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    expect(page.get_by_role("columnheader", name="User")).to_be_attached()
    assert complaints == []
