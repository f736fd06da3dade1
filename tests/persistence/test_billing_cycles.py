"""Billing cycles in Postgres: which comes into force when, and who is told."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from meter.cycles import CycleChange, cycles_of
from meter.ledger.types import AccountLimits, StorageUnavailable
from meter.periods import BillingCycle, around, date_of, start_of_day
from persistence import periods
from persistence.database import Database
from persistence.limits import LimitFigures, load_limits, set_limit
from persistence.periods import NoSubscription, PeriodsKeeper, load_cycles, set_cycle
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from persistence.writer import Writer
from tests.persistence.billing import AUCKLAND, made_of, noted, subscribe
from tests.persistence.builders import (
    FULL,
    NOW,
    THIS_MINUTE,
    due,
    present_minute,
    until_somebody_waits,
)

pytestmark = pytest.mark.integration

# Which cycle is set


async def test_months_in_utc_are_nothing_to_note(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await set_limit(database_url, "org_1", None, 60)
    await set_cycle(database_url, "org_1", "UTC")
    await subscribe(connection, "2026-03-12T00:00Z", "calendar")
    await subscribe(connection, "2026-03-01T00:00Z")
    assert await noted(connection) == []


async def test_an_account_that_recorded_nothing_has_its_cycle_from_the_beginning(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await set_cycle(database_url, "org_1", AUCKLAND)
    await set_cycle(database_url, "org_1", "Asia/Kathmandu")
    await subscribe(connection, "2026-05-30T20:00Z")
    await subscribe(connection, "2026-05-30T10:00Z")
    # The 30th here is the 31st there, and the first of these times is not.
    assert await noted(connection) == [BillingCycle("Asia/Kathmandu", 30)]
    cycles = await load_cycles(connection, ["org_1", "org_2"])
    assert cycles == {
        "org_1": cycles_of([CycleChange(0, BillingCycle("Asia/Kathmandu", 30))]),
    }
    await set_cycle(database_url, "org_1", "UTC", "calendar")
    assert await noted(connection) == [BillingCycle()]


async def test_each_change_of_an_account_that_recorded_is_noted(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    await writer.write([due((THIS_MINUTE, 1))])
    await set_cycle(database_url, "org_1", AUCKLAND)
    await subscribe(connection, "2026-01-30T20:00Z")
    await connection.execute("UPDATE user_subscriptions SET started_at = '2026-01-28T00:00Z'")
    await set_cycle(database_url, "org_1", kind="calendar")
    await set_cycle(database_url, "org_1", kind="anniversary")
    await connection.execute("UPDATE user_subscriptions SET plan_id = 'starter'")
    await connection.execute("DELETE FROM user_subscriptions")
    await connection.execute("DELETE FROM organizations")
    expected = [
        BillingCycle(AUCKLAND),
        BillingCycle(AUCKLAND, 31),
        BillingCycle(AUCKLAND, 28),
        BillingCycle(AUCKLAND),
        BillingCycle(AUCKLAND, 28),
        BillingCycle(AUCKLAND),
        BillingCycle(),
    ]
    assert await noted(connection) == expected


async def test_all_accounts_go_back_to_months_in_utc_when_their_tables_are_emptied(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    await writer.write([due((THIS_MINUTE, 1))])
    await subscribe(connection, "2026-01-30T20:00Z")
    await connection.execute("TRUNCATE user_subscriptions")
    await set_cycle(database_url, "org_1", AUCKLAND)
    await connection.execute("TRUNCATE organizations CASCADE")
    zones = [BillingCycle("UTC", 30), BillingCycle(), BillingCycle(AUCKLAND), BillingCycle()]
    assert await noted(connection) == zones


async def test_two_changes_at_once_are_both_in_the_cycle_that_is_noted_last(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    await subscribe(connection, "2026-01-20T00:00Z", "calendar")
    await writer.write([due((THIS_MINUTE, 1))])
    async with connection.transaction():
        await connection.execute("UPDATE user_subscriptions SET billing_cycle = 'anniversary'")
        other = asyncio.create_task(set_cycle(database_url, "org_1", "Asia/Kathmandu"))
        await until_somebody_waits(connection)
    await other
    assert await noted(connection) == [BillingCycle("UTC", 20), BillingCycle("Asia/Kathmandu", 20)]


async def test_an_anniversary_needs_a_subscription(
    database_url: str, connection: asyncpg.Connection
) -> None:
    with pytest.raises(NoSubscription):
        await set_cycle(database_url, "org_1", AUCKLAND, "anniversary")
    assert await noted(connection) == []
    assert await connection.fetchval("SELECT count(*) FROM organizations") == 0


# What an account's periods are


async def test_a_change_comes_into_force_with_the_next_period(
    database_url: str, storage: PostgresStorage, writer: Writer
) -> None:
    now = present_minute() * 60
    await writer.write([due((now // 60, 0b111))])
    told = await set_cycle(database_url, "org_1", AUCKLAND)
    account = await storage.load_account("org_1", "user_1", now)
    before, present, after = account.periods
    assert (before, present) == around(now)[:2]
    assert account.organization_used == account.member_used == (0, 3, 0)
    assert after.start == present.end
    turn = date_of(after.end, AUCKLAND)
    assert (turn.day, start_of_day(turn, AUCKLAND)) == (1, after.end)
    assert (told.present, told.next) == (present, after)
    assert (told.present_cycle.zone, told.next_cycle.zone) == ("UTC", AUCKLAND)
    assert account.limits_version > 0


async def test_a_zone_that_this_machine_lacks_is_utc_and_said_once(
    connection: asyncpg.Connection,
    storage: PostgresStorage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await connection.execute("INSERT INTO billing_cycles VALUES ('org_1', 'epoch', 'Mars/Base', 1)")
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            account = await storage.load_account("org_1", "user_1", NOW)
            assert account.periods == around(NOW)
    said = [record.message for record in caplog.records if "Mars/Base" in record.message]
    assert len(said) == 1
    assert "update its tzdata" in said[0]


async def test_limits_are_shown_of_the_present_period(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    """The present moment, in a period that began two days ago."""
    minute = int(datetime.now(UTC).timestamp()) // 60
    began = datetime.fromtimestamp(minute * 60 - 2 * 86_400, UTC)
    await set_limit(database_url, "org_1", None, 100)
    await subscribe(connection, began.isoformat())
    start = int(began.replace(hour=0, minute=0).timestamp())
    await connection.execute("SELECT ensure_usage_partitions(now() - interval '3 months', 4)")
    await writer.write(
        [due((minute - 1, 0b11), (start // 60, 0b1), (start // 60 - 1, FULL), origin=start - 60)]
    )
    shown = await load_limits(database_url, "org_1")
    assert shown is not None
    assert shown.organization == LimitFigures(100, 3)
    assert shown.period.start == start
    assert (shown.month, shown.time_zone) == (began.date(), "UTC")


# Who makes them


class ToldLedger:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[AccountLimits] = []

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
        self.told += limits


async def test_a_change_is_told_with_the_periods_around_now(
    database_url: str, connection: asyncpg.Connection, database: Database, writer: Writer
) -> None:
    ledger = ToldLedger()
    keeper = PeriodsKeeper(database)
    teller = LimitsTeller(ledger, database, keeper=keeper)
    await writer.write([due((THIS_MINUTE, 0b111))])
    await set_limit(database_url, "org_1", None, 60)
    await set_limit(database_url, "org_2", None, 60)
    await teller.tell()
    assert [each.periods for each in ledger.told] == [(), ()]
    expected = await set_cycle(database_url, "org_1", AUCKLAND)
    await teller.tell()
    assert ledger.told[2].periods[1:] == (expected.present, expected.next)
    assert await keeper.make_asked() == 4
    assert await keeper.make_asked() == 0
    assert (await made_of(connection))[1:3] == [expected.present, expected.next]
    await set_cycle(database_url, "org_1", "UTC")
    await teller.tell()
    assert ledger.told[3].periods == around(expected.present.start)
    assert len(ledger.told) == 4


async def test_periods_are_made_two_ahead(
    database_url: str, connection: asyncpg.Connection, database: Database
) -> None:
    keeper = PeriodsKeeper(database)
    await set_limit(database_url, "org_0", None, 60)
    assert await keeper.make_ahead() == 0
    for number in range(1, 4):
        await set_cycle(database_url, f"org_{number}", AUCKLAND)
    assert await keeper.make_ahead() == 3 * 4
    assert await keeper.make_ahead() == 0
    await connection.execute("DELETE FROM billing_periods WHERE period_start > now()")
    assert await keeper.make_ahead() >= 3
    await connection.execute("TRUNCATE billing_periods, period_usage")
    assert await keeper.make_ahead() == 3 * 4
    assert await made_of(connection, "org_0") == []


async def test_more_accounts_than_a_batch_all_get_theirs(
    database: Database, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periods, "BATCH_ORGANIZATIONS", 2)
    await connection.execute(
        "INSERT INTO organizations (id, time_zone)"
        " SELECT 'org_' || n, 'Asia/Kathmandu' FROM generate_series(1, 5) AS n"
    )
    assert await PeriodsKeeper(database).make_ahead() == 5 * 4


@pytest.fixture
async def stop() -> AsyncIterator[asyncio.Event]:
    """Set at the test's end."""
    event = asyncio.Event()
    yield event
    event.set()


async def test_a_keeper_outlives_a_database_that_is_away(
    database_url: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    stop: asyncio.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(periods, "RETRY_SECONDS", 0.01)
    await set_cycle(database_url, "org_1", AUCKLAND)
    await connection.execute("ALTER TABLE billing_cycles RENAME TO away")
    keeper = PeriodsKeeper(database)
    keeper.ask(["org_1"])
    for make in (keeper.make_asked, keeper.make_ahead):
        with pytest.raises(StorageUnavailable):
            await make()
    running = asyncio.create_task(keeper.run(stop))
    async with asyncio.timeout(30):
        while caplog.text.count("periods cannot be made now") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await connection.execute("ALTER TABLE away RENAME TO billing_cycles")
    async with asyncio.timeout(30):
        while len(await made_of(connection)) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await running
