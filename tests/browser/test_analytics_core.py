"""The pure parts of the page `/analytics`, in the engine that they run on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.stub import StubGateway

pytestmark = pytest.mark.browser

Run = Callable[..., Any]

PRELUDE = """
const spans = await import("/pages/spans.js");
const words = await import("/pages/analytics-words.js");
"""


@pytest.fixture(scope="module")
def run(browser: Browser) -> Iterator[Run]:
    """Run a piece of JavaScript after the prelude, and give what it returns."""
    stub = StubGateway()
    page = browser.new_page()
    page.goto(f"{stub.url}/elsewhere")
    yield lambda script, value=None: page.evaluate(
        f"async (value) => {{ {PRELUDE}\n{script} }}", value
    )
    page.close()
    stub.close()


@pytest.mark.parametrize(
    ("choice", "today", "span"),
    [
        ("this-month", "2026-11-21", "2026-11-01 2026-11-21"),
        ("this-month", "2026-11-01", "2026-11-01 2026-11-01"),
        ("last-month", "2026-01-31", "2025-12-01 2025-12-31"),
        ("last-month", "2028-03-15", "2028-02-01 2028-02-29"),
        ("last-30-days", "2026-03-01", "2026-01-31 2026-03-01"),
    ],
)
def test_a_choice_is_a_span_of_days(run: Run, choice: str, today: str, span: str) -> None:
    first, last = span.split()
    assert run("return spans.spanOf(...value)", [choice, today]) == {"first": first, "last": last}
    assert run("return spans.spanOf('own', '2026-11-21')") is None


@pytest.mark.parametrize(
    ("span", "before"),
    [
        ("2026-11-01 2026-11-21", "2026-10-01 2026-10-21"),
        ("2026-11-01 2026-11-30", "2026-10-01 2026-10-31"),
        ("2026-03-01 2026-03-30", "2026-02-01 2026-02-28"),
        ("2026-01-01 2026-01-31", "2025-12-01 2025-12-31"),
        ("2028-03-01 2028-03-29", "2028-02-01 2028-02-29"),
        ("2026-11-10 2026-11-12", "2026-11-07 2026-11-09"),
        ("2026-10-01 2026-11-30", "2026-08-01 2026-09-30"),
        ("2026-03-01 2026-03-01", "2026-02-01 2026-02-01"),
        ("2026-03-29 2026-03-29", "2026-03-28 2026-03-28"),
    ],
)
def test_months_are_compared_with_months_and_other_days_with_those_before(
    run: Run, span: str, before: str
) -> None:
    first, last = span.split()
    found = run("return spans.spanBefore(value)", {"first": first, "last": last})
    assert f"{found['first']} {found['last']}" == before


def test_every_day_is_there_once_over_the_change_of_clocks(run: Run) -> None:
    used = [{"day": "2026-03-29", "seconds": 5, "users": 1}]
    days = run(
        "return spans.everyDay({ first: '2026-03-28', last: '2026-03-30' }, value)",
        [*used, {"day": "2026-04-01", "seconds": 9}],
    )
    empty = [{"day": day, "seconds": 0} for day in ("2026-03-28", "2026-03-30")]
    assert days == [empty[0], *used, empty[1]]


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (150, 100, "+50 %, was 100"),
        (1, 3000, "−100 %, was 3,000"),  # noqa: RUF001
        (100, 100, "±0 %, was 100"),
        (12_345, 1, "+1,234,400 %, was 1"),
        (0, 0, "None before either"),
        (5, 0, "None before"),
    ],
)
def test_changes_are_said_in_percent(run: Run, now: int, before: int, text: str) -> None:
    assert run("return words.changeText(...value)", [now, before]) == text


def test_minutes_are_rounded_up_and_sizes_are_short(run: Run) -> None:
    minutes = "return [0, 1, 60, 61, 7_200_000].map(words.minutesText)"
    assert run(minutes) == ["0", "1", "1", "2", "120,000"]
    sizes = "return [1, 999_999, 12_345_678].map(words.sizeText)"
    assert run(sizes) == ["1 kB", "1,000 kB", "12.3 MB"]


def test_the_command_holds_nothing_that_a_shell_would_run(run: Run) -> None:
    script = """const query = new URLSearchParams({ id: value });
    return words.curlText(`https://meter.example/report?${query}`, "usage.csv");"""
    command = run(script, "a'; rm -rf $HOME `x` \"!\n")
    url = command.partition(" '")[2]
    assert url.endswith("'")
    assert not set(url[:-1]) & set("'\"$`;! \n")
