"""The page `/ops`: against a real gateway with a real Valkey, and against one that misbehaves."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.live import LiveGateway
from tests.browser.stub import Message, StubGateway, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration]

HOSTILE = '<img src=x onerror="globalThis.broken=true">'


def listed(*sessions: Message, **fields: object) -> Message:
    """An operator's message."""
    organizations = [str(each["organization_id"]) for each in sessions]
    counts = {name: organizations.count(name) for name in organizations}
    return {
        "type": "sessions",
        "organization_id": None,
        "total": len(sessions),
        "organizations": len(counts),
        "by_organization": counts,
        "sessions": list(sessions),
        "limit": 50,
        "cursor": None,
        "next_cursor": None,
        **fields,
    }


def session(number: int = 1, organization: str = "acme", **fields: object) -> Message:
    """A live session."""
    return {
        "session_id": f"00000000-0000-4000-8000-{number:012}",
        "organization_id": organization,
        "user_id": f"user-{number}",
        "kind": "interview",
        "started_at": 1795227916,
        "session_seconds": 61,
        "last_seen": 1795227978,
        "paused": False,
        **fields,
    }


def open_page(page: Page, stub: StubGateway, shown: Message) -> None:
    stub.shown = shown
    page.goto(f"{stub.url}/ops#token=a-token")
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")


def organizations(page: Page) -> list[str]:
    return page.get_by_test_id("organizations").locator(".name").all_inner_texts()


def test_sessions_of_all_organizations_come_and_go_and_can_be_filtered(
    page: Page, live: LiveGateway, complaints: list[str]
) -> None:
    page.goto(live.link("ops", "operators", "admin"))
    assert page.url == f"{live.url}/ops"
    expect(page.get_by_test_id("sessions-text")).to_have_text("No sessions are live.")
    live.record("globex", "zoe")
    recorder, _ = live.record("acme", "ada"), live.record("acme", "ben")
    expect(page.get_by_test_id("session")).to_have_count(3)
    expect(page.get_by_test_id("live-count")).to_have_text("3")
    assert organizations(page) == ["acme", "globex"]
    recorder.hear(590, 599)
    expect(page.get_by_test_id("session").filter(has_text="ada")).to_contain_text("00:10")
    page.get_by_role("button", name="globex").click()
    expect(page.get_by_test_id("session")).to_have_count(1)
    expect(page.get_by_test_id("sessions-text")).to_contain_text("globex")
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_test_id("session")).to_have_count(3)
    page.get_by_label("Show one organization").fill("acme")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("session")).to_have_count(2)
    recorder.stop()
    expect(page.get_by_test_id("session")).to_have_count(1)
    assert complaints == []


def test_a_session_is_stopped_after_a_confirmation(
    page: Page, live: LiveGateway, complaints: list[str]
) -> None:
    recorder, other = live.record("acme", "ada"), live.record("acme", "ben")
    recorder.hear(0, 124)
    page.goto(live.link("ops", "operators", "admin"))
    stop = page.get_by_role("button", name="Stop the session of ada")
    stop.click()
    dialog = page.get_by_role("dialog", name="Stop this session?")
    expect(dialog).to_contain_text(recorder.session_id)
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(stop).to_be_focused()
    page.wait_for_timeout(300)
    expect(page.get_by_test_id("notice-banner")).to_be_hidden()
    expect(page.get_by_test_id("session")).to_have_count(2)
    stop.click()
    dialog.get_by_role("button", name="Stop session").click()
    assert recorder.closed() == 4503
    notice = page.get_by_test_id("notice-banner")
    expect(notice).to_contain_text("ada")
    expect(notice).to_contain_text("is stopped: 2 min 5 s counted.")
    expect(page.get_by_test_id("session")).to_have_count(1)
    expect(page.get_by_test_id("session")).to_contain_text("ben")
    # The row that had the focus is gone; the focus isn't.
    expect(page.get_by_role("heading", name="Live sessions", exact=True)).to_be_focused()
    assert other.session_id
    assert complaints == []


def test_only_operators_see_it(page: Page, live: LiveGateway) -> None:
    live.record("acme", "ada")
    page.goto(live.link("ops", "acme", "record usage"))
    expect(page.get_by_test_id("problem-banner")).to_contain_text(
        "needs one with the scope “admin”"
    )
    expect(page.get_by_label("Access token")).to_be_focused()
    expect(page.get_by_test_id("session")).to_have_count(0)


def test_it_goes_on_when_the_gateway_is_back(page: Page, live: LiveGateway) -> None:
    live.record("acme", "ada")
    page.goto(live.link("ops", "operators", "admin"))
    page.get_by_role("button", name="acme").click()
    expect(page.get_by_test_id("sessions-text")).to_contain_text("acme")
    live.stop()
    expect(page.get_by_test_id("connection-text")).to_have_text("Reconnecting")
    live.start()
    live.record("acme", "ben")
    live.record("globex", "zoe")
    expect(page.get_by_test_id("connection-text")).to_have_text("Connected")
    expect(page.get_by_test_id("session")).to_have_count(2)


def test_pages_lead_to_older_sessions_and_back(page: Page, live: LiveGateway) -> None:
    for number in range(52):
        live.record("acme", f"user-{number}")
    page.goto(live.link("ops", "operators", "admin"))
    expect(page.get_by_test_id("session")).to_have_count(50)
    expect(page.get_by_test_id("sessions-text")).to_contain_text("50 of 52 are listed")
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_test_id("session")).to_have_count(2)
    page.get_by_role("button", name="Newer").click()
    expect(page.get_by_test_id("session")).to_have_count(50)
    expect(page.get_by_role("button", name="Newer")).to_have_attribute("aria-disabled", "true")


def test_hostile_ids_are_text(page: Page, stub: StubGateway, complaints: list[str]) -> None:
    hostile = session(1, HOSTILE, user_id=HOSTILE, kind=HOSTILE)
    odd = session(2, "__proto__", user_id="\u202eevil")
    open_page(page, stub, listed(hostile, odd))
    expect(page.get_by_role("cell", name=HOSTILE, exact=True)).to_have_count(3)
    assert sorted(organizations(page)) == [HOSTILE, "__proto__"]
    page.get_by_test_id("session").first.get_by_role("button").click()
    expect(page.get_by_test_id("confirm")).to_contain_text(HOSTILE)
    page.get_by_test_id("confirm-stop").click()
    expect(page.get_by_test_id("notice-banner")).to_contain_text("<img")
    assert page.locator("main img, dialog img").count() == 0
    assert page.evaluate("globalThis.broken") is None
    assert complaints == []


def test_organizations_are_listed_by_their_sessions_whatever_they_are_called(
    page: Page, stub: StubGateway
) -> None:
    sessions = [session(each, name) for each, name in enumerate(["7", "acme", "acme", "12"])]
    open_page(page, stub, listed(*sessions))
    assert organizations(page)[0] == "acme"


def test_a_stop_without_an_answer_is_asked_for_again(page: Page, stub: StubGateway) -> None:
    shown = session()
    open_page(page, stub, listed(shown))
    page.get_by_role("button", name="Stop the session").click()
    page.get_by_test_id("confirm-stop").click()
    wait_until(lambda: len(stub.frames("stop")) == 1)
    button = page.get_by_test_id("session").get_by_role("button")
    stub.send(listed(session(session_seconds=62)))
    expect(button).to_have_text("Stopping …")
    button.click(force=True)
    expect(page.get_by_test_id("confirm")).to_be_hidden()
    stub.cut()
    wait_until(lambda: len(stub.frames("stop")) == 2)
    error = {"code": "storage_unavailable", "message": "", "fatal": False}
    stub.send({"type": "error", "session_id": shown["session_id"], **error})
    expect(page.get_by_test_id("notice-banner")).to_contain_text("Try again soon.")
    stub.send(listed(session(session_seconds=63)))
    expect(button).to_have_text("Stop")


def test_a_paused_session_is_told_from_one_that_records(page: Page, stub: StubGateway) -> None:
    open_page(page, stub, listed(session(1, paused=True), session(2)))
    rows = page.get_by_test_id("session")
    expect(rows.nth(0)).to_contain_text("Paused")
    expect(rows.nth(1)).to_contain_text("Recording")


def test_the_focus_stays_while_rows_come_and_figures_move(page: Page, stub: StubGateway) -> None:
    open_page(page, stub, listed(session(1)))
    button = page.get_by_role("button", name="Stop the session of user-1", exact=True)
    button.focus()
    stub.send(listed(session(2), session(1, session_seconds=62)))
    expect(page.get_by_test_id("session")).to_have_count(2)
    expect(page.get_by_test_id("session").nth(1)).to_contain_text("01:02")
    expect(button).to_be_focused()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_every_width(
    page: Page, stub: StubGateway, complaints: list[str], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    long = session(2, "o" * 500, user_id="x" * 500, kind="k" * 64)
    open_page(page, stub, listed(session(), long))
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.get_by_test_id("session").nth(1).get_by_role("button").click()
    expect(page.get_by_test_id("confirm-stop")).to_be_in_viewport()
    assert complaints == []
