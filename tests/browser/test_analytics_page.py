"""The page `/analytics`, with made-up figures: what it asks for, and what it shows of the answers.

`tests/systems/test_pages.py` has it against all that is real.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.stub import Message, StubGateway

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="globalThis.broken=true">'
# The page's clock stands still: no midnight falls into a test.
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TODAY = NOW.date()
USAGE = "/api/admin/usage"
CSV = "organization_id,seconds\r\nacme,60\r\n"
# The network's part: an answer that begins, and then fails.
BREAK_OFF = """() => {
  const fetched = globalThis.fetch;
  globalThis.fetch = async (...asked) => {
    const response = await fetched(...asked);
    const body = new ReadableStream({
      start: (stream) => stream.enqueue(new Uint8Array(10)),
      pull: (stream) => stream.error(new TypeError("network error")),
    });
    return new Response(body, response);
  };
}"""

Query = dict[str, str]
Answer = Callable[[Query], Message]


class Figures:
    """The operators' API: what it answers, and what it was asked."""

    def __init__(self, page: Page) -> None:
        self.asked: list[tuple[str, Query]] = []
        self.bearers: set[str | None] = set()
        self.problem: tuple[int, str] | None = None
        self.report_headers: dict[str, str] = {
            "content-disposition": 'attachment; filename="usage-days.csv"'
        }
        self.answers: dict[str, Answer] = {
            f"{USAGE}/analytics": analytics,
            f"{USAGE}/power-users": lambda _: listed(
                {"user_id": "ann", "seconds": 7200, "days_active": 9, "last_day": "2026-11-20"},
                {"user_id": "bob", "seconds": 1800, "days_active": 1, "last_day": "2026-11-02"},
            ),
            f"{USAGE}/dropped-off-users": lambda query: listed(
                {
                    "user_id": "zoe",
                    "seconds": 5400,
                    "idle": int(query["idle_days"]) + 3,
                    "last_day": "2026-09-01",
                }
            ),
            f"{USAGE}/feature-adoption": lambda _: listed(
                adoption("2026-11-01", "professional", 7), adoption("2026-10-01", "starter", 2)
            ),
            "/api/admin/organizations": lambda _: listed({"id": "acme", "name": "Acme Ltd."}),
            "/api/admin/plans": lambda _: listed({"id": "starter", "name": "Starter plan"}),
        }
        page.clock.set_fixed_time(NOW)
        page.route("**/api/**", self._answer)

    def spans(self) -> list[tuple[str, str]]:
        """Whose analytics were asked for, in order."""
        return [
            (query["first_day"], query["last_day"])
            for path, query in self.asked
            if path == f"{USAGE}/analytics"
        ]

    def last(self, path: str) -> Query:
        """The newest question of a path."""
        return [query for asked, query in self.asked if asked == path][-1]

    def _answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.asked.append((url.path, query))
        self.bearers.add(route.request.headers.get("authorization"))
        if self.problem is not None:
            status, code = self.problem
            body = {"status": status, "code": code, "detail": f"{code}, says the meter"}
            headers = {"retry-after": "7"}
            route.fulfill(status=status, json=body, headers=headers)
        elif url.path == f"{USAGE}/report":
            route.fulfill(body=CSV, content_type="text/csv", headers=self.report_headers)
        else:
            route.fulfill(json=self.answers[url.path](query))


def listed(*items: Message, next_cursor: str | None = None) -> Message:
    """A page of a list."""
    return {"items": items, "next_cursor": next_cursor}


def adoption(month: str, tier: str, users: int) -> Message:
    """A line of who uses what."""
    return {
        "month": month,
        "tier": tier,
        "usage_type": "interviews_per_day",
        "users": users,
        "amount": users * 10,
        "accounts": 1000,
    }


def analytics(query: Query, **fields: object) -> Message:
    """What was used: on the first day only, and less in the span before."""
    first, last = (date.fromisoformat(query[name]) for name in ("first_day", "last_day"))
    seconds = 6000 if last >= TODAY else 4000
    return {
        "first_day": str(first),
        "last_day": str(last),
        "seconds": seconds,
        "minutes": -(-seconds // 60),
        "organizations": 14,
        "users": 30,
        "sessions": 40 if last >= TODAY else 0,
        "days": [{"day": str(first), "seconds": seconds, "organizations": 14, "users": 30}],
        "top_organizations": [
            {"organization_id": name, "plan_id": "starter", "seconds": 600 - each, "users": 2}
            for each, name in enumerate(["acme", *(f"org-{number}" for number in range(13))])
        ],
        "plans": [
            {"plan_id": None, "accounts": 3, "active_accounts": 1, "seconds": 1000},
            {"plan_id": "starter", "accounts": 20, "active_accounts": 13, "seconds": 5000},
        ],
        "features": [
            {"usage_type": "interviews_per_day", "plan_id": "starter", "amount": 90, "users": 9}
        ],
        **fields,
    }


@pytest.fixture
def figures(page: Page) -> Figures:
    return Figures(page)


def open_page(page: Page, stub: StubGateway, state: str = "As of") -> None:
    page.goto(f"{stub.url}/analytics#token=a-token")
    expect(page.get_by_test_id("connection-text")).to_contain_text(state)


def wait_until_it_is_of(page: Page, organization: str) -> None:
    """Return once all that is shown is the answer for an organization: all of it is asked for."""
    expect(page.get_by_test_id("answer")).to_contain_text(organization)
    expect(page.get_by_test_id("connection-text")).to_contain_text("As of")


def rows(page: Page, table: str) -> list[str]:
    """A table's lines, as text."""
    lines = page.get_by_test_id(table).locator("tbody tr").all_inner_texts()
    return [" | ".join(filter(None, re.split(r"\s*[\n\t]\s*", line))) for line in lines]


def month_before(day: date) -> tuple[date, date]:
    """The whole month before that of a day."""
    end = day.replace(day=1) - timedelta(days=1)
    return end.replace(day=1), end


def test_it_shows_what_was_used_and_how_that_changed(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str]
) -> None:
    open_page(page, stub)
    assert page.url == f"{stub.url}/analytics"
    assert figures.bearers == {"Bearer a-token"}
    expect(page.get_by_test_id("minutes")).to_have_text("100")
    expect(page.get_by_test_id("minutes-change")).to_have_text("+49 %, was 67")
    expect(page.get_by_test_id("sessions-change")).to_have_text("None before")
    expect(page.get_by_test_id("users-change")).to_have_text("±0 %, was 30")
    expect(page.get_by_test_id("answer")).to_contain_text("All organizations, compared with ")
    organizations = rows(page, "organizations")
    assert organizations[0] == "Acme Ltd. | acme, Starter plan | 2 | 10"
    assert (len(organizations), organizations[-1]) == (11, "4 more | 1")
    assert rows(page, "plans") == [
        "Starter plan | 13 of 20 | 84",
        "Without a plan | 1 of 3 | 17",
    ]
    assert rows(page, "features") == ["Interviews per day | Starter plan | 9 | 90"]
    assert complaints == []


def test_it_shows_power_users_drop_off_and_adoption_by_tier(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str]
) -> None:
    open_page(page, stub)
    expect(page.get_by_test_id("power").locator("tbody tr")).to_have_count(2)
    assert rows(page, "power")[0] == "ann | last on Nov 20, 2026 | 9 | 120"
    assert rows(page, "adoption") == [
        "Interviews per day | professional, November 2026 | 7 | 1,000 | 70",
        "Interviews per day | Starter plan, October 2026 | 2 | 1,000 | 20",
    ]
    assert rows(page, "gone") == ["zoe | last on Sep 1, 2026 | 33 | 90"]
    page.get_by_label("Nothing recorded for").select_option("7 days")
    expect(page.get_by_test_id("gone")).to_contain_text("10")
    assert figures.last(f"{USAGE}/dropped-off-users")["idle_days"] == "7"
    assert complaints == []


def test_lists_go_on_where_they_end(page: Page, stub: StubGateway, figures: Figures) -> None:
    def users(query: Query) -> Message:
        user = {"seconds": 60, "days_active": 1, "last_day": "2026-11-20"}
        if query.get("cursor") == "next":
            return listed({**user, "user_id": "second"})
        return listed({**user, "user_id": "first"}, next_cursor="next")

    figures.answers[f"{USAGE}/power-users"] = users
    open_page(page, stub)
    more = page.get_by_test_id("power-more")
    more.click()
    expect(page.get_by_test_id("power").locator("tbody tr")).to_have_count(2)
    expect(more).to_be_hidden()
    expect(page.get_by_role("heading", name="Power users")).to_be_focused()
    assert [row.split(" |")[0] for row in rows(page, "power")] == ["first", "second"]


def test_days_are_bars_with_gaps_and_a_table(
    page: Page, stub: StubGateway, figures: Figures
) -> None:
    open_page(page, stub)
    page.get_by_label("Last 30 days").check()
    bars = page.get_by_test_id("days").locator("li")
    expect(bars).to_have_count(30)
    first, second = (bars.nth(each).locator(".column").bounding_box() for each in (0, 1))
    assert first is not None
    assert second is not None
    assert (first["height"] > 50, second["height"] <= 2) == (True, True)
    expect(page.get_by_test_id("days-text")).to_contain_text("Recorded on 1 of 30 days")
    expect(page.get_by_role("img", name="Minutes by day")).to_be_visible()
    page.get_by_text("As a table").click()
    lines = rows(page, "days-table")
    assert len(lines) == 30
    assert lines[0].endswith(" | 30 | 14 | 100")
    assert lines[1].endswith(" | 0 | 0 | 0")


def test_spans_and_what_they_are_compared_with(
    page: Page, stub: StubGateway, figures: Figures
) -> None:
    open_page(page, stub)
    begin, end = month_before(TODAY)
    first = TODAY.replace(day=1)
    assert figures.spans()[0] == (str(first), str(TODAY))
    assert figures.spans()[1][0] == str(begin)
    page.get_by_label("This month").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Last month")).to_be_checked()
    expect(page.get_by_test_id("minutes")).to_have_text("67")
    expect(page.get_by_test_id("connection-text")).to_contain_text("As of")
    assert figures.spans()[2] == (str(begin), str(end))
    assert figures.spans()[3] == tuple(map(str, month_before(begin)))
    page.get_by_label("Own dates").check()
    page.get_by_test_id("first").fill("2026-03-10")
    page.get_by_test_id("last").fill("2026-03-12")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_test_id("span")).to_have_text(re.compile(r"Mar 10 . 12, 2026"))
    expect(page.get_by_test_id("connection-text")).to_contain_text("As of")
    assert figures.spans()[4:] == [("2026-03-10", "2026-03-12"), ("2026-03-07", "2026-03-09")]
    assert figures.last(f"{USAGE}/power-users")["last_day"] == "2026-03-12"


@pytest.mark.parametrize(
    ("first", "last", "error"),
    [
        ("2026-03-12", "2026-03-10", "The last day is before the first one."),
        ("2025-01-01", "2026-03-10", "At most 366 days are shown."),
        ("", "2026-03-10", "Give the first and the last day."),
    ],
)
def test_dates_that_cannot_be_shown_are_not_asked_for(
    page: Page, stub: StubGateway, figures: Figures, first: str, last: str, error: str
) -> None:
    open_page(page, stub)
    asked = len(figures.spans())
    page.get_by_label("Own dates").check()
    page.get_by_test_id("first").fill(first)
    page.get_by_test_id("last").fill(last)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_test_id("choice-error")).to_have_text(error)
    assert len(figures.spans()) == asked


def test_an_organization_is_chosen_by_its_row_or_by_its_id(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str]
) -> None:
    open_page(page, stub)
    page.get_by_role("button", name="Acme Ltd.").click()
    wait_until_it_is_of(page, "acme")
    for path in ("analytics", "power-users"):
        assert figures.last(f"{USAGE}/{path}")["organization_id"] == "acme"
    for path in ("feature-adoption", "dropped-off-users"):  # which know of no organization
        assert "organization_id" not in figures.last(f"{USAGE}/{path}")
    expect(page.get_by_test_id("organization")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("org & co")
    page.keyboard.press("Enter")
    wait_until_it_is_of(page, "org & co")
    assert figures.last(f"{USAGE}/analytics")["organization_id"] == "org & co"
    page.get_by_role("button", name="Show all organizations").click()
    wait_until_it_is_of(page, "All organizations, ")
    for path in ("analytics", "power-users", "feature-adoption"):
        assert "organization_id" not in figures.last(f"{USAGE}/{path}")
    assert complaints == []


def test_a_list_that_is_still_of_another_organization_is_marked(
    page: Page, stub: StubGateway, figures: Figures
) -> None:
    user = {"user_id": "ann", "seconds": 60, "days_active": 1, "last_day": "2026-11-20"}
    figures.answers[f"{USAGE}/power-users"] = lambda _: listed(user, next_cursor="next")
    open_page(page, stub)
    power = page.locator("section").filter(has=page.get_by_test_id("power"))
    expect(power).to_have_attribute("aria-busy", "false")
    held: list[Route] = []
    page.route(f"**{USAGE}/power-users**", lambda route: held.append(route))
    page.get_by_role("button", name="Acme Ltd.").click()
    expect(page.get_by_test_id("answer")).to_contain_text("acme")
    expect(power).to_have_attribute("aria-busy", "true")
    expect(page.get_by_test_id("connection-text")).to_have_text("Loading …")
    page.get_by_test_id("power-more").click()  # more of what is shown no longer
    expect(page.get_by_test_id("gone").locator("tbody tr")).to_have_count(1)
    assert ["organization_id=acme" in route.request.url for route in held] == [True]
    held[0].fulfill(json=listed({**user, "user_id": "bob"}))
    wait_until_it_is_of(page, "acme")
    expect(power).to_have_attribute("aria-busy", "false")
    assert [row.split(" |")[0] for row in rows(page, "power")] == ["bob"]


def test_where_nothing_was_used_it_says_so(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str]
) -> None:
    nothing: dict[str, Any] = {"seconds": 0, "minutes": 0, "organizations": 0, "users": 0}
    nothing |= {"sessions": 0, "days": [], "top_organizations": [], "plans": [], "features": []}
    figures.answers = {
        path: (lambda query: analytics(query, **nothing))
        if path.endswith("analytics")
        else lambda _: listed()
        for path in figures.answers
    }
    open_page(page, stub)
    expect(page.get_by_test_id("answer")).to_contain_text("Nothing was recorded or used")
    expect(page.get_by_test_id("minutes")).to_have_text("0")
    expect(page.get_by_test_id("minutes-change")).to_have_text("None before either")
    expect(page.get_by_test_id("days-text")).to_have_text("Nothing was recorded in these days.")
    expect(page.get_by_test_id("power-text")).to_have_text("Nobody recorded in these days.")
    expect(page.get_by_role("table")).to_have_count(0)
    assert complaints == []


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (401, "token_expired", "The token has expired. Paste a fresh one."),
        (401, "token_refused", "The token was refused. Paste a fresh one."),
        (403, "not_allowed", "needs one with the scope “admin”"),
    ],
)
def test_a_token_that_will_not_do_is_explained_and_replaced(
    page: Page, stub: StubGateway, figures: Figures, status: int, code: str, text: str
) -> None:
    figures.problem = (status, code)
    open_page(page, stub, "Not loaded")
    expect(page.get_by_test_id("problem-banner")).to_contain_text(text)
    expect(page.get_by_label("Access token")).to_be_focused()
    figures.problem = None
    page.keyboard.type("another-token")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("minutes")).to_have_text("100")
    expect(page.get_by_test_id("problem-banner")).to_be_hidden()
    expect(page.get_by_test_id("token-form")).to_be_hidden()
    assert "Bearer another-token" in figures.bearers


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (503, "storage_unavailable", "Press Show in a moment."),
        (500, "internal_error", "internal_error, says the meter"),
    ],
)
def test_what_went_wrong_is_said_and_can_be_asked_for_again(
    page: Page, stub: StubGateway, figures: Figures, status: int, code: str, text: str
) -> None:
    figures.problem = (status, code)
    open_page(page, stub, "Not loaded")
    expect(page.get_by_test_id("problem-banner")).to_contain_text(text)
    expect(page.get_by_test_id("token-form")).to_be_hidden()
    figures.problem = None
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_test_id("minutes")).to_have_text("100")


def test_a_gateway_that_is_away_is_told_apart(page: Page, stub: StubGateway) -> None:
    page.route("**/api/**", lambda route: route.abort())
    open_page(page, stub, "Not loaded")
    expect(page.get_by_test_id("problem-banner")).to_contain_text("Check your connection")


def test_a_list_that_fails_leaves_the_rest(page: Page, stub: StubGateway, figures: Figures) -> None:
    page.route(f"**{USAGE}/power-users**", lambda route: route.fulfill(status=503, body="{}"))
    open_page(page, stub)
    expect(page.get_by_test_id("power-text")).to_have_text(re.compile("be shown now"))
    expect(page.get_by_test_id("gone").locator("tbody tr")).to_have_count(1)
    expect(page.get_by_test_id("problem-banner")).to_be_hidden()


def test_the_report_is_saved_as_a_file(
    page: Page, stub: StubGateway, figures: Figures, tmp_path: Path, complaints: list[str]
) -> None:
    open_page(page, stub)
    page.get_by_test_id("organization").fill("acme")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("answer")).to_contain_text("acme")
    page.get_by_label("A row a").select_option("session")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    assert saved.value.suggested_filename == "usage-days.csv"
    saved.value.save_as(tmp_path / "report")
    assert (tmp_path / "report").read_bytes() == CSV.encode()
    asked = figures.last(f"{USAGE}/report")
    assert asked == {
        "first_day": str(TODAY.replace(day=1)),
        "last_day": str(TODAY),
        "organization_id": "acme",
        "rows": "sessions",
        "format": "csv",
    }
    expect(page.get_by_test_id("report-text")).to_have_text("usage-days.csv is complete: 1 kB.")
    expect(page.get_by_test_id("report-cancel")).to_be_hidden()
    command = page.get_by_test_id("curl").text_content()
    assert command is not None
    assert f"'{stub.url}{USAGE}/report?" in command
    assert "rows=sessions" in command
    assert complaints == []


def test_a_report_that_cannot_be_made_now_says_when(
    page: Page, stub: StubGateway, figures: Figures
) -> None:
    open_page(page, stub)
    figures.problem = (429, "too_many_requests")
    page.get_by_role("button", name="Download JSON").click()
    expect(page.get_by_test_id("report-text")).to_contain_text("Try again in 7 seconds.")
    figures.problem = None
    with page.expect_download():
        page.get_by_role("button", name="Download JSON").click()


@pytest.mark.parametrize("button", ["Download CSV", "Show more"])
def test_a_token_that_expires_while_the_page_is_open_is_asked_for_again(
    page: Page, stub: StubGateway, figures: Figures, button: str
) -> None:
    user = {"user_id": "ann", "seconds": 60, "days_active": 1, "last_day": "2026-11-20"}
    figures.answers[f"{USAGE}/power-users"] = lambda _: listed(user, next_cursor="next")
    open_page(page, stub)
    expect(page.get_by_test_id("power-more")).to_be_visible()
    figures.problem = (401, "token_expired")
    page.get_by_role("button", name=button).click()
    expect(page.get_by_test_id("problem-banner")).to_contain_text("The token has expired.")
    expect(page.get_by_label("Access token")).to_be_focused()


def test_half_a_report_is_not_saved(page: Page, stub: StubGateway, figures: Figures) -> None:
    open_page(page, stub)
    saved: list[object] = []
    page.on("download", lambda download: saved.append(download))
    page.evaluate(BREAK_OFF)
    page.get_by_role("button", name="Download CSV").click()
    expect(page.get_by_test_id("report-text")).to_contain_text("broke off, and nothing was saved")
    assert saved == []


def test_a_report_can_be_cancelled(page: Page, stub: StubGateway, figures: Figures) -> None:
    open_page(page, stub)
    page.route(f"**{USAGE}/report**", lambda route: None)
    page.get_by_role("button", name="Download CSV").click()
    expect(page.get_by_role("button", name="Download JSON")).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_test_id("report-text")).to_contain_text("Cancelled")
    expect(page.get_by_label("A row a")).to_be_focused()


def test_the_token_goes_along_between_the_operators_pages(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str]
) -> None:
    open_page(page, stub)
    current = page.get_by_role("link", name="Analytics")
    expect(current).to_have_attribute("aria-current", "page")
    current.click()
    page.get_by_role("link", name="Live sessions").click()
    page.wait_for_url(f"{stub.url}/ops")
    expect(page.get_by_test_id("token-form")).to_be_hidden()
    page.get_by_role("link", name="Analytics").click()
    page.wait_for_url(f"{stub.url}/analytics")
    expect(page.get_by_test_id("minutes")).to_have_text("100")
    assert figures.bearers == {"Bearer a-token"}
    assert complaints == []


def test_hostile_names_are_text(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str]
) -> None:
    organization = {"organization_id": HOSTILE, "plan_id": HOSTILE, "seconds": 60, "users": 1}
    figures.answers[f"{USAGE}/analytics"] = lambda query: analytics(
        query, top_organizations=[organization], organizations=1
    )
    open_page(page, stub)
    page.get_by_role("button", name=HOSTILE).click()
    expect(page.get_by_test_id("answer")).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.evaluate("globalThis.broken") is None
    assert complaints == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_every_width(
    page: Page, stub: StubGateway, figures: Figures, complaints: list[str], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    long = {"organization_id": "o" * 500, "plan_id": None, "seconds": 6_000_000, "users": 1000}
    figures.answers[f"{USAGE}/analytics"] = lambda query: analytics(query, top_organizations=[long])
    open_page(page, stub)
    page.get_by_label("Own dates").check()
    page.get_by_test_id("first").fill("2025-11-20")
    page.get_by_test_id("last").fill("2026-11-20")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("days").locator("li")).to_have_count(366)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert complaints == []
