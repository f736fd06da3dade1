"""Audits of the counts of features against the events that they are kept from."""

from datetime import UTC, datetime

import asyncpg
import pytest

from meter.periods import Period, month_of
from persistence.audit import EVER, audit_rows, repair_rows
from persistence.database import Database
from persistence.drift import USES

pytestmark = pytest.mark.integration

ANALYSES = "detailed_analysis_per_month"


@pytest.fixture(autouse=True)
async def events(connection: asyncpg.Connection) -> None:
    """5 uses in March 2026 and 2 of a lifetime."""
    await connection.execute(
        "INSERT INTO feature_events (organization_id, user_id, usage_type, amount, used_at) VALUES"
        f" ('org_1', 'user_1', '{ANALYSES}', 2, '2026-03-10 12:00:00+00'),"
        f" ('org_1', 'user_1', '{ANALYSES}', 3, '2026-03-11 12:00:00+00'),"
        " ('org_1', 'user_1', 'chat_instances', 2, '2026-03-11 12:00:00+00')"
    )


def month(number: int) -> Period:
    return month_of(int(datetime(2026, number, 5, tzinfo=UTC).timestamp()))


async def test_counts_that_follow_their_events_have_no_drift(database: Database) -> None:
    assert await audit_rows(database, EVER) == []
    assert await repair_rows(database, EVER) == 0


@pytest.mark.parametrize(
    ("breakage", "place", "kept", "counted"),
    [
        (f"UPDATE feature_usage SET amount = 9 WHERE usage_type = '{ANALYSES}'",
         f"{ANALYSES} 2026-03-01 00:00", 9, 5),
        (f"DELETE FROM feature_usage WHERE usage_type = '{ANALYSES}'",
         f"{ANALYSES} 2026-03-01 00:00", 0, 5),
        ("UPDATE feature_usage SET amount = 0 WHERE usage_type = 'chat_instances'",
         "chat_instances", 0, 2),
        ("INSERT INTO feature_usage VALUES"
         " ('org_9', 'interviews_per_day', '2026-03-02', '2026-03-03', 'eve', 4)",
         "interviews_per_day 2026-03-02 00:00", 4, 0),
    ],
)  # fmt: skip
async def test_a_count_that_is_off_is_found_and_made_anew_from_its_events(
    database: Database,
    connection: asyncpg.Connection,
    breakage: str,
    place: str,
    kept: int,
    counted: int,
) -> None:
    await connection.execute("SET timezone = 'UTC'")
    await connection.execute(breakage)
    (drift,) = await audit_rows(database, EVER)
    assert (drift.figure, drift.place, drift.kept, drift.counted) == (USES, place, kept, counted)
    assert (drift.off, drift.seconds) == (kept - counted, 0)
    assert await audit_rows(database, month(3)) == [drift]
    assert await repair_rows(database, EVER) == 1
    assert await audit_rows(database, EVER) == []
    await connection.execute("UPDATE feature_events SET amount = amount + 1")
    assert await audit_rows(database, EVER) == []


async def test_an_audit_of_a_month_is_of_the_periods_that_lie_in_it(
    database: Database, connection: asyncpg.Connection
) -> None:
    await connection.execute("UPDATE feature_usage SET amount = amount + 1")
    places = [drift.place for drift in await audit_rows(database, month(4))]
    assert places == ["chat_instances"]
    assert await repair_rows(database, month(3)) == 2
    assert await audit_rows(database, EVER) == []
