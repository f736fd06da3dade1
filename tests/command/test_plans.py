"""`meter plans` and `meter bill`."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import datetime

import asyncpg
import pytest
from typer.testing import CliRunner

from command.embedded import EmbeddedPostgres
from command.errors import CommandError
from command.group import app
from persistence.database import Database
from persistence.writer import Writer
from tests.persistence.builders import FULL, due, present_minute
from tests.persistence.conftest import migrate_at, run_sql, url_of

pytestmark = pytest.mark.integration


def meter(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def url(postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database, named by the environment."""
    url = url_of(postgres_server, "plans_command")
    asyncio.run(run_sql(postgres_server.url, "CREATE DATABASE plans_command"))
    asyncio.run(migrate_at(url))
    monkeypatch.setenv("DATABASE_URL", url)
    yield url
    asyncio.run(run_sql(postgres_server.url, "DROP DATABASE plans_command WITH (FORCE)"))


async def record(url: str) -> None:
    """61 seconds of `org_1`."""
    database = Database(url, name="test", max_connections=1)
    minute = present_minute()
    await Writer(database).write([due((minute, FULL), (minute + 1, 1))])
    await database.aclose()


def test_plans_are_listed_with_what_they_include(url: str) -> None:
    listed = {plan["id"]: plan for plan in json.loads(meter("plans", "list", "--json"))}
    assert list(listed) == ["starter", "professional", "premium"]
    assert listed["starter"]["limits"]["minutes_per_month"] == 300
    assert listed["premium"]["limits"]["interviews_per_day"] is None
    table = meter("plans", "list")
    assert "Professional" in table
    assert "unlimited" in table


def test_an_organization_is_given_a_plan_and_then_another(url: str) -> None:
    assert meter("plans", "assign", "acme", "starter") == "acme: starter\n"
    meter("plans", "assign", "acme", "premium")
    shown = json.loads(meter("limits", "show", "acme", "--json"))
    assert shown["limit_seconds"] == 2500 * 60
    accounts = {
        each["id"]: each["accounts"] for each in json.loads(meter("plans", "list", "--json"))
    }
    assert accounts == {"starter": 0, "professional": 0, "premium": 1}


def test_a_plan_that_is_not_there_is_said(url: str) -> None:
    with pytest.raises(CommandError, match="no plan 'gold'; `meter plans list` shows"):
        meter("plans", "assign", "acme", "gold")


def test_a_bill_shows_exact_seconds_and_what_is_billed(url: str) -> None:
    asyncio.run(record(url))
    shown = json.loads(meter("bill", "org_1", "--json"))
    assert (shown["recorded_seconds"], shown["billed_minutes"]) == (61, 2)
    assert "60/60 on each period" in meter("bill", "org_1")
    earlier = json.loads(meter("bill", "org_1", "--at", "2001-01-15", "--json"))
    assert earlier["recorded_seconds"] == 0


async def adjust(url: str, *rows: tuple[str | None, int, str]) -> None:
    """Adjustments of `org_1` now, by Olga: of whom, seconds and why."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("INSERT INTO organizations (id) VALUES ('org_1')")
        await connection.executemany(
            "INSERT INTO usage_adjustments (organization_id, user_id, seconds, reason, author)"
            " VALUES ('org_1', $1, $2, $3, 'olga')",
            rows,
        )
    finally:
        await connection.close()


def test_a_bill_explains_its_adjustments_line_by_line(url: str) -> None:
    asyncio.run(record(url))
    assert json.loads(meter("bill", "org_1", "--json"))["adjustments"] == []
    assert "adjusted" not in meter("bill", "org_1")
    asyncio.run(adjust(url, (None, 90, "by [bold]phone"), ("user_1", -30, "an\x1boutage")))
    shown = json.loads(meter("bill", "org_1", "--json"))
    assert (shown["recorded_seconds"], shown["adjusted_seconds"]) == (61, 60)
    lines = shown["adjustments"]
    assert [(line["user_id"], line["seconds"], line["author"]) for line in lines] == [
        (None, 90, "olga"),
        ("user_1", -30, "olga"),
    ]
    assert lines[0]["reason"] == "by [bold]phone"
    for line in lines:
        at = datetime.fromisoformat(line["effective_at"]).timestamp()
        assert shown["period_start"] <= at < shown["period_end"]
    text = meter("bill", "org_1")
    assert "adjusted by hand" in text
    assert "by [bold]phone" in text
    assert "an�outage" in text
    assert re.search(r"user_1 +olga .* -30 s", text)


def test_a_day_that_is_none_is_said(url: str) -> None:
    with pytest.raises(CommandError, match="is no day, such as 2026-10-15"):
        meter("bill", "org_1", "--at", "2026-02-30")
