"""Minutes that came by SQL, on their way into the ledger's figures."""

import asyncio
import logging

import asyncpg
import pytest

from meter.ledger.auditing import LedgerAudit
from meter.ledger.driver import Ledger
from meter.ledger.types import LookItem, Standing, StorageUnavailable
from persistence import comparing
from persistence.auditor import Auditor
from persistence.comparing import Comparing
from persistence.database import Database
from persistence.metrics import FlusherMetrics
from persistence.statements import statement
from persistence.storage import PostgresStorage
from tests.calm import calm_zone
from tests.persistence.counted import ledger, quick_looks, record

__all__ = ["ledger", "quick_looks"]

pytestmark = pytest.mark.integration


async def used(ledger: Ledger) -> tuple[int, int]:
    look = (await ledger.look([LookItem("org_1", ("user_1",))]))[0]
    standing = look.standings[0]
    assert isinstance(standing, Standing)
    return standing.used, standing.member_used


async def use_by_sql(connection: asyncpg.Connection, seconds: int) -> None:
    await connection.execute("SELECT ensure_user_exists('user_1')")
    await connection.execute(
        "SELECT record_ended_session('org_1', 'user_1', $1, 'tracked')", seconds
    )


async def in_a_calm_zone(connection: asyncpg.Connection) -> None:
    query = "INSERT INTO organizations (id, time_zone) VALUES ('org_1', $1)"
    await connection.execute(query, calm_zone())


async def test_an_account_is_caught_up_with_once_however_many_ask(
    database_url: str, storage: PostgresStorage, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    await in_a_calm_zone(connection)
    await record(ledger, storage, 10)
    await use_by_sql(connection, 120)
    several = [Comparing(database_url, 5.0) for _ in range(2)]
    await asyncio.gather(*(each.catch_up(ledger, "org_1") for each in several * 2))
    assert await used(ledger) == (130, 130)
    for each in several:
        await each.aclose()


async def test_who_would_wait_too_long_for_another_is_told(
    database_url: str,
    storage: PostgresStorage,
    ledger: Ledger,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await record(ledger, storage, 10)
    monkeypatch.setattr(comparing, "MOST_SECONDS", 0.3)
    one = Comparing(database_url, 5.0)
    async with connection.transaction():
        assert await connection.fetchval(statement("claim_ledger_repair"))
        with pytest.raises(StorageUnavailable):
            await one.catch_up(ledger, "org_1")
    await one.catch_up(ledger, "org_1")
    await one.aclose()


async def test_minutes_by_sql_are_no_drift_and_no_warning_whoever_sees_them_first(
    database: Database,
    storage: PostgresStorage,
    ledger: Ledger,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await in_a_calm_zone(connection)
    await record(ledger, storage, 10)
    await use_by_sql(connection, 120)
    metrics = FlusherMetrics()
    auditor = Auditor(ledger, database, metrics)
    with caplog.at_level(logging.INFO):
        await auditor.look()  # on its round
    assert await used(ledger) == (130, 130)
    assert {each.levelname for each in caplog.records if "org_1" in each.message} == {"INFO"}
    drift = "meter_flusher_drift_seconds_total"
    assert metrics.registry.get_sample_value(drift) == 0
    # What the ledger has too much didn't come by SQL.
    (standing,) = (await ledger.look([LookItem("org_1", ("user_1",))]))[0].standings
    assert isinstance(standing, Standing)
    await LedgerAudit(ledger).correct("org_1", standing.period, {None: 4})
    await auditor.look()
    assert metrics.registry.get_sample_value(drift) == 4
