"""`usage_alerts`: one row a crossing, however many saw it, and none is missed."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from meter.ledger.types import (
    UNLIMITED,
    LedgerUnavailable,
    Look,
    LookItem,
    Standing,
    StorageUnavailable,
)
from meter.periods import Period
from meter.terms import DEFAULT_TERMS
from meter.thresholds import Alert, Threshold, ThresholdKind
from persistence.alerts import AlertNoter
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.persistence.builders import FULL, THIS_MINUTE, due
from tests.persistence.fake_ledger import FakeLedger

pytestmark = pytest.mark.integration

PERIOD = Period(1_793_491_200, 1_796_083_200)
ALERT = Alert("org_1", None, PERIOD, Threshold(ThresholdKind.PERCENT, 90), 91, 100)


class LookingLedger(FakeLedger):
    """Says how accounts stand."""

    used = 0

    async def look(self, items: Sequence[LookItem]) -> list[Look]:
        self._called("look")
        level = Standing(PERIOD, self.used, 100, 0, UNLIMITED, DEFAULT_TERMS)
        return [Look(0, (), tuple(level for _ in item.user_ids)) for item in items]


async def rows(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
    found = await connection.fetch(
        "SELECT organization_id, user_id, kind, value, used_seconds, limit_seconds "
        "FROM usage_alerts ORDER BY id"
    )
    return [tuple(row) for row in found]


async def test_a_crossing_that_many_note_at_once_is_one_row(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await asyncio.gather(*(storage.note_alerts([ALERT]) for _ in range(8)))
    await storage.note_alerts([replace_used(ALERT, 99)])
    assert await rows(connection) == [("org_1", None, "percent", 90, 91, 100)]


def replace_used(alert: Alert, used: int) -> Alert:
    return Alert(
        alert.organization_id,
        alert.user_id,
        alert.period,
        alert.threshold,
        used,
        alert.limit_seconds,
    )


async def test_another_period_threshold_member_or_account_is_another_row(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    threshold = Threshold(ThresholdKind.REMAINING_MINUTES, 90)
    others = [
        ALERT,
        Alert("org_2", None, PERIOD, ALERT.threshold, 91, 100),
        Alert("org_1", "ann", PERIOD, ALERT.threshold, 91, 100),
        Alert("org_1", "bob", PERIOD, ALERT.threshold, 91, 100),
        Alert("org_1", None, Period(PERIOD.end, PERIOD.end + 60), ALERT.threshold, 91, 100),
        Alert("org_1", None, PERIOD, threshold, 91, 100),
    ]
    await storage.note_alerts(others)
    await storage.note_alerts(others)
    assert len(await rows(connection)) == len(others)


async def test_a_crossing_is_noted_before_its_seconds_are_let_go_of(
    database: Database, connection: asyncpg.Connection
) -> None:
    ledger = LookingLedger(away_for={"look"})
    ledger.add(due((THIS_MINUTE, FULL)))
    ledger.used = 95
    flusher = Flusher(ledger, Writer(database), alerts=AlertNoter(ledger, database))
    with pytest.raises(LedgerUnavailable):
        await flusher.flush()
    assert "settle" not in ledger.calls
    ledger.away_for.clear()
    await flusher.flush()
    assert not ledger.due
    assert sorted(row[2:4] for row in await rows(connection)) == [
        ("percent", 70),
        ("percent", 90),
        ("remaining_minutes", 1),
    ]


async def test_an_alert_that_postgres_refuses_holds_no_seconds_up(
    database: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("ALTER TABLE usage_alerts ADD CHECK (value < 50)")
    ledger = LookingLedger()
    ledger.add(due((THIS_MINUTE, FULL)))
    ledger.used = 95
    await Flusher(ledger, Writer(database), alerts=AlertNoter(ledger, database)).flush()
    assert not ledger.due
    assert "refused 3 alerts" in caplog.text


async def test_a_database_that_is_away_is_tried_again(
    database: Database, connection: asyncpg.Connection
) -> None:
    ledger = LookingLedger()
    ledger.used = 95
    noter = AlertNoter(ledger, database)
    await connection.execute("ALTER TABLE usage_alerts RENAME TO away")
    with pytest.raises(StorageUnavailable):
        await noter.note([("org_1", "ann")])
    await connection.execute("ALTER TABLE away RENAME TO usage_alerts")
    assert await noter.note([("org_1", "ann")]) == 3
    assert await noter.note([("org_1", "ann")]) == 0
