"""`meter limits`."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from typer.testing import CliRunner

from command.embedded import EmbeddedPostgres
from command.errors import CommandError
from command.group import app
from command.limits_display import amount
from tests.persistence.conftest import migrate_at, run_sql, url_of


def limits(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["limits", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A migrated database, named by the environment."""
    url = url_of(postgres_server, "limits_command")
    asyncio.run(run_sql(postgres_server.url, "CREATE DATABASE limits_command"))
    asyncio.run(migrate_at(url))
    monkeypatch.setenv("DATABASE_URL", url)
    yield
    asyncio.run(run_sql(postgres_server.url, "DROP DATABASE limits_command WITH (FORCE)"))


@pytest.mark.integration
def test_what_was_set_is_shown(database: None) -> None:
    assert limits("set", "acme", "--hours", "10") == "acme: 10 h a month\n"
    assert limits("set", "acme", "--minutes", "0.5", "--user", "ada") == (
        "ada in acme: 30 s a month\n"
    )
    limits("set", "acme", "--minutes", "5", "--user", "bob")
    assert limits("set", "acme", "--unlimited", "--user", "bob") == "bob in acme: unlimited\n"
    for unit in ("--hours", "--minutes"):
        assert limits("set", "globex", unit, "-1") == "globex: unlimited\n"
    assert json.loads(limits("set", "acme", "--minutes", "5", "--user", "eve", "--json")) == {
        "organization_id": "acme",
        "user_id": "eve",
        "limit_seconds": 300,
    }
    shown = json.loads(limits("show", "acme", "--json"))
    assert shown["organization_id"] == "acme"
    assert (shown["limit_seconds"], shown["used_seconds"]) == (36_000, 0)
    assert shown["remaining_seconds"] == 36_000
    members = {member["user_id"]: member for member in shown["members"]}
    assert members["ada"]["limit_seconds"] == 30
    assert members["bob"]["unlimited"]
    table = limits("show", "acme")
    assert "10 h" in table
    assert "ada" in table


async def credit(url: str, organization: str, seconds: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO usage_adjustments (organization_id, seconds, reason, author)"
            " VALUES ($1, $2, 'an outage', 'olga')",
            organization,
            -seconds,
        )
    finally:
        await connection.close()


@pytest.mark.integration
def test_a_credit_is_shown_as_one(database: None) -> None:
    limits("set", "acme", "--hours", "5")
    asyncio.run(credit(os.environ["DATABASE_URL"], "acme", 7000))
    shown = json.loads(limits("show", "acme", "--json"))
    assert (shown["used_seconds"], shown["remaining_seconds"]) == (-7000, 25_000)
    table = limits("show", "acme")
    assert "0 s, 1 h 56 min 40 s in credit" in table
    assert "6 h 56 min 40 s" in table


@pytest.mark.integration
def test_an_unknown_organization_is_said(database: None) -> None:
    with pytest.raises(CommandError, match="nobody has no limit and never recorded"):
        limits("show", "nobody")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of"),
        (("--minutes", "1", "--hours", "1"), "give one of"),
        (("--minutes", "1", "--unlimited"), "give one of"),
        (("--minutes", "-5"), "below zero"),
        (("--hours", "0.0001"), "whole seconds"),
        (("--minutes", "1", "--user", ""), "can't be empty"),
    ],
)
def test_a_bad_limit_is_refused_before_anything_is_asked(
    arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        limits("set", "acme", *arguments)
    assert caught.value.exit_code == 2


def test_a_database_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(CommandError, match="the database doesn't answer"):
        limits("show", "acme")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unlimited"),
        (0, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (3905, "1 h 05 min 05 s"),
    ],
)
def test_seconds_are_shown_for_people(seconds: int | None, text: str) -> None:
    assert amount(seconds) == text


@pytest.mark.integration
def test_a_cycle_that_was_set_is_shown(database: None) -> None:
    assert "turns on day 1 of each month" in limits("cycle", "acme")
    limits("cycle", "acme", "--time-zone", "Pacific/Auckland")
    cycle = json.loads(limits("cycle", "acme", "--json"))
    assert cycle["organization_id"] == "acme"
    for period in (cycle["present"], cycle["next"]):
        assert (period["time_zone"], period["anchor_day"]) == ("Pacific/Auckland", 1)
    assert cycle["present"]["period_end"] == cycle["next"]["period_start"]
    shown = json.loads(limits("show", "acme", "--json"))
    assert {name: shown[name] for name in ("period_start", "period_end", "time_zone")} == {
        name: cycle["present"][name] for name in ("period_start", "period_end", "time_zone")
    }
    assert shown["month"].endswith("-01")
    start, end = (
        f"{moment.day} {moment:%b %Y}"
        for moment in (
            datetime.fromtimestamp(shown[name], ZoneInfo("Pacific/Auckland"))
            for name in ("period_start", "period_end")
        )
    )
    assert limits("show", "acme").startswith(f"{start} to {end}, Pacific/Auckland;")


@pytest.mark.integration
def test_an_anniversary_without_a_subscription_is_refused(database: None) -> None:
    with pytest.raises(CommandError, match="acme has no subscription"):
        limits("cycle", "acme", "--anniversary")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("acme", "--time-zone", "Europe/Pariss"), r"is no IANA time zone.*is it Europe/Paris\?"),
        (("acme", "--time-zone", "CET-1CEST"), "is no IANA time zone"),
        (("acme", "--calendar", "--anniversary"), "give one of --calendar and --anniversary"),
        (("", "--calendar"), "can't be empty"),
    ],
)
def test_a_bad_cycle_is_refused_before_anything_is_asked(
    arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        limits("cycle", *arguments)
    assert caught.value.exit_code == 2
