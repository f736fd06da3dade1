"""`meter audit`."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command.embedded import EmbeddedPostgres
from command.errors import CommandError
from command.group import app
from persistence.database import Database
from persistence.writer import Writer
from tests.ledger.servers import Valkey
from tests.persistence.builders import FULL, THIS_MINUTE, due
from tests.persistence.conftest import migrate_at, run_sql, url_of

pytestmark = pytest.mark.integration


def audit(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout


@pytest.fixture
def url(
    postgres_server: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[str]:
    """A migrated database with a minute in it, named by the environment."""
    url = url_of(postgres_server, "audit_command")
    asyncio.run(run_sql(postgres_server.url, "CREATE DATABASE audit_command"))
    asyncio.run(migrate_at(url))
    asyncio.run(_record(url))
    monkeypatch.setenv("DATABASE_URL", url)
    with Valkey(tmp_path / "valkey") as valkey:
        monkeypatch.setenv("REDIS_URL", valkey.url)
        yield url
    asyncio.run(run_sql(postgres_server.url, "DROP DATABASE audit_command WITH (FORCE)"))


def drifts(shown: str) -> list[tuple[str, int]]:
    return [(each["organization_id"], each["seconds"]) for each in json.loads(shown)["drifts"]]


async def _record(url: str) -> None:
    database = Database(url, name="test", max_connections=1)
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
    assert drifts(shown) == [("audited", -10)]
    code, shown = audit("--repair")
    assert (code, "made anew" in shown) == (0, True)
    assert drifts(audit("--json")[1]) == []


@pytest.mark.parametrize("month", ["2026", "2026-13", "november", "0001-01"])
def test_a_month_that_is_none_is_said(url: str, month: str) -> None:
    with pytest.raises(CommandError, match="is no month, such as 2026-10"):
        audit("--month", month)
