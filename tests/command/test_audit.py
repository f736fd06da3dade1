"""`meter audit`."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from command.embedded import EmbeddedPostgres, EmbeddedValkey
from command.errors import CommandError
from command.group import app
from persistence.database import Database
from persistence.writer import Writer
from tests.persistence.builders import FULL, THIS_MINUTE, due
from tests.persistence.conftest import migrate_at, run_sql, url_of

pytestmark = pytest.mark.integration


def audit(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout


@pytest.fixture
def url(
    postgres_server: EmbeddedPostgres,
    valkey_server: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A migrated database with a minute in it, named by the environment."""
    url = url_of(postgres_server, "audit_command")
    asyncio.run(run_sql(postgres_server.url, "CREATE DATABASE audit_command"))
    asyncio.run(migrate_at(url))
    asyncio.run(_record(url))
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("REDIS_URL", valkey_server.url)
    yield url
    asyncio.run(run_sql(postgres_server.url, "DROP DATABASE audit_command WITH (FORCE)"))


def in_postgres(shown: str) -> list[tuple[str, int]]:
    """What differs there; other tests leave what they like in the Valkey."""
    drifts = [each for each in json.loads(shown)["drifts"] if each["figure"] != "ledger"]
    return [(each["organization_id"], each["seconds"]) for each in drifts]


async def _record(url: str) -> None:
    database = Database(url, name="test", max_connections=1)
    # Of an organization that no other test records for: they share the Valkey.
    await Writer(database).write([due((THIS_MINUTE, FULL), organization="audited")])
    await database.aclose()


def test_no_drift_is_said_in_seconds(url: str) -> None:
    code, shown = audit("--month", "2001-01")
    assert code == 0
    assert "drift: 0 s" in shown


def test_drift_is_shown_and_ends_with_1_until_it_is_repaired(url: str) -> None:
    asyncio.run(run_sql(url, "UPDATE monthly_usage_cache SET seconds_used = 50"))
    code, shown = audit()
    assert code == 1
    assert "audited" in shown
    assert "-10" in shown
    code, shown = audit("--json")
    assert in_postgres(shown) == [("audited", -10)]
    code, shown = audit("--repair")
    assert (code, "made anew" in shown) == (0, True)
    found = [
        each for each in json.loads(audit("--json")[1])["drifts"] if each["figure"] != "ledger"
    ]
    assert found == []


@pytest.mark.parametrize("month", ["2026", "2026-13", "november", "0001-01"])
def test_a_month_that_is_none_is_said(url: str, month: str) -> None:
    with pytest.raises(CommandError, match="is no month, such as 2026-10"):
        audit("--month", month)
