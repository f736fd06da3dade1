"""`meter audit`."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from command.embedded import EmbeddedPostgres
from command.errors import CommandError
from command.group import app
from command.main import main
from meter.codes import EndReason
from meter.ledger.auditing import LedgerAudit
from meter.ledger.driver import Ledger
from meter.ledger.types import CountItem, OpenRequest, Rules, SessionKey
from meter.periods import month_of
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.statements import statement
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.ledger.servers import Valkey
from tests.persistence.builders import FULL, THIS_MINUTE, due, session_id
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


def test_counts_of_features_are_shown_in_uses(url: str) -> None:
    event = (
        "INSERT INTO feature_events (organization_id, user_id, usage_type, amount)"
        " VALUES ('audited', 'ann', 'interviews_per_day', 2)"
    )
    asyncio.run(run_sql(url, event, "UPDATE feature_usage SET amount = 5"))
    code, shown = audit()
    assert (code, "drift: 0 s and 3 uses" in shown, "+3" in shown) == (1, True, True)
    report = json.loads(audit("--json")[1])
    assert (report["drift_seconds"], report["drift_uses"]) == (0, 3)
    assert audit("--repair")[0] == 0
    assert json.loads(audit("--json")[1])["drift_uses"] == 0


def test_the_ledgers_figures_are_repaired_as_well(url: str) -> None:
    asyncio.run(_count_wrongly(url))
    assert drifts(audit("--json")[1]) == [("audited", -60), ("audited", -60)]
    code, shown = audit("--repair", "--json")
    assert (code, json.loads(shown)["repaired"]) == (0, 2)
    assert drifts(audit("--json")[1]) == []


def test_what_postgres_refuses_is_shown_and_no_drift(url: str) -> None:
    assert "set aside" not in audit()[1]
    asyncio.run(_refuse(url, 30))
    code, shown = audit()
    assert code == 0
    assert "set aside: 30 s" in shown
    assert "sessions that Postgres refuses: 1" in shown
    told = json.loads(audit("--json")[1])
    assert (told["set_aside_sessions"], told["set_aside_seconds"]) == (1, 30)
    assert told["drifts"] == []


async def _refuse(url: str, seconds: int) -> None:
    """So many seconds are counted, and Postgres refuses their rows."""
    ledger = Ledger.connect(os.environ["REDIS_URL"], Rules(future_seconds=100))
    storage, database = PostgresStorage(url), Database(url, name="test", max_connections=2)
    key = SessionKey("audited", session_id())
    figures = await storage.load_account("audited", "user_2", int(time.time()), with_live=True)
    await ledger.seed_account(figures)
    await ledger.open(OpenRequest(key, "user_2", "recording", 1, create=True))
    await ledger.count([CountItem(key, ((0, seconds - 1),))])
    await ledger.close(key, EndReason.STOPPED)
    await run_sql(
        url, "ALTER TABLE usage_tracking ADD CONSTRAINT broken CHECK (user_id <> 'user_2')"
    )
    await Flusher(ledger, Writer(database)).flush()
    await ledger.aclose()
    await storage.aclose()
    await database.aclose()


async def _count_wrongly(url: str) -> None:
    """The ledger has the account, and nothing of its minute."""
    ledger, storage = Ledger.connect(os.environ["REDIS_URL"]), PostgresStorage(url)
    figures = await storage.load_account("audited", "user_1", int(time.time()))
    await ledger.seed_account(figures)
    period = month_of(int(time.time()))
    await LedgerAudit(ledger).correct("audited", period, {None: -60, "user_1": -60})
    await ledger.aclose()
    await storage.aclose()


@pytest.mark.parametrize("month", ["2026", "2026-13", "november", "0001-01"])
def test_a_month_that_is_none_is_said(url: str, month: str) -> None:
    with pytest.raises(CommandError, match="is no month, such as 2026-10"):
        audit("--month", month)


def test_a_month_leaves_out_the_ledgers_figures_of_others(url: str) -> None:
    asyncio.run(_count_wrongly(url))
    code, shown = audit("--month", "2001-01", "--json")
    assert (code, drifts(shown), json.loads(shown)["ledger_accounts"]) == (0, [], 0)


def test_a_repair_that_another_one_keeps_waiting_ends_with_1_and_says_why(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("persistence.audit.PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("sys.argv", ["meter", "audit", "--repair"])
    asyncio.run(_count_wrongly(url))

    async def repair_beside_another() -> None:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.fetchval(statement("claim_ledger_repair"))
                await asyncio.to_thread(main)
        finally:
            await connection.close()

    with pytest.raises(SystemExit) as ended:
        asyncio.run(repair_beside_another())
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "waiting for it" in said
    assert "Redis' figures weren't repaired" in said
    assert drifts(audit("--json")[1]) == [("audited", -60), ("audited", -60)]
