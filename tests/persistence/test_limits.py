"""Limits in Postgres: what can be stored, who is told of a change, and members' kept figures."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.ledger.types import UNLIMITED, AccountLimits, LedgerUnavailable
from persistence.database import Database
from persistence.limits import LimitFigures, load_limits, set_limit
from persistence.storage import PostgresStorage
from persistence.teller import BATCH_ORGANIZATIONS, LimitsTeller
from persistence.writer import Writer, write
from tests.persistence.builders import (
    FULL,
    NOW,
    due,
    present_minute,
    session_id,
    until_somebody_waits,
)

pytestmark = pytest.mark.integration


def this_month() -> date:
    """Its first day."""
    return datetime.now(UTC).date().replace(day=1)


class ToldLedger:
    """Remembers what it was told. `away`: it can't be."""

    def __init__(self) -> None:
        self.told: list[AccountLimits] = []
        self.away = False
        self.refusals = 0

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
        if self.away:
            self.refusals += 1
            raise LedgerUnavailable("the test took it down")
        self.told += limits


@pytest.fixture
def ledger() -> ToldLedger:
    return ToldLedger()


@pytest.fixture
def teller(ledger: ToldLedger, database: Database) -> LimitsTeller:
    return LimitsTeller(ledger, database)


@pytest.fixture
async def other_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def seconds_of(storage: PostgresStorage, user: str = "user_1") -> tuple[int, int]:
    """What a gateway gives the ledger: the organization's and the member's limit."""
    account = await storage.load_account("org_1", user, NOW, with_live=False)
    return account.organization_limit, account.member_limit


# What is stored


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seconds=st.integers(0, 2**40))
async def test_every_whole_second_comes_back_exactly(
    database_url: str, storage: PostgresStorage, seconds: int
) -> None:
    await set_limit(database_url, "org_1", None, seconds)
    await set_limit(database_url, "org_1", "user_1", seconds + 1)
    assert await seconds_of(storage) == (seconds, seconds + 1)


async def test_hours_written_by_hand_are_seconds_to_the_ledger(
    connection: asyncpg.Connection, storage: PostgresStorage
) -> None:
    await connection.execute(
        "INSERT INTO organizations (id, monthly_audio_hours_limit) VALUES ('org_1', 10)"
    )
    await connection.execute(
        "INSERT INTO organization_members (organization_id, user_id, monthly_audio_hours_limit)"
        " VALUES ('org_1', 'user_1', 1.0 / 60)"
    )
    assert await seconds_of(storage) == (36_000, 60)


async def test_minutes_are_read_as_the_hours_they_are(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await set_limit(database_url, "org_1", None, 600 * 60)
    hours = await connection.fetchval("SELECT monthly_audio_hours_limit::text FROM organizations")
    assert hours == "10"


@pytest.mark.parametrize("hours", [None, Decimal(-1)])
async def test_null_and_minus_one_are_unlimited(
    connection: asyncpg.Connection, storage: PostgresStorage, hours: Decimal | None
) -> None:
    await connection.execute(
        "INSERT INTO organizations (id, monthly_audio_hours_limit) VALUES ('org_1', $1)", hours
    )
    assert await seconds_of(storage) == (UNLIMITED, UNLIMITED)


@pytest.mark.parametrize("hours", ["-0.5", "-2", "NaN", "Infinity", "1000000001"])
async def test_what_is_no_limit_is_refused(connection: asyncpg.Connection, hours: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(
            "INSERT INTO organizations (id, monthly_audio_hours_limit) VALUES ('org_1', $1)",
            Decimal(hours),
        )


async def test_an_account_without_rows_is_unlimited(storage: PostgresStorage) -> None:
    account = await storage.load_account("org_1", "user_1", NOW)
    assert (account.organization_limit, account.member_limit) == (UNLIMITED, UNLIMITED)
    assert account.limits_version == 0


async def test_the_figures_shown_are_those_of_the_rows(database_url: str, writer: Writer) -> None:
    assert await load_limits(database_url, "org_1") is None
    minute = present_minute()
    await writer.write([due((minute, FULL)), due((minute, 0b111), user="user_2")])
    await set_limit(database_url, "org_1", "user_1", 30)
    await set_limit(database_url, "org_1", None, 100)
    await set_limit(database_url, "org_1", "user_3", None)
    shown = await load_limits(database_url, "org_1")
    assert shown is not None
    assert shown.organization == LimitFigures(100, 63)
    assert shown.members == {
        "user_1": LimitFigures(30, 60),
        "user_2": LimitFigures(None, 3),
        "user_3": LimitFigures(None, 0),
    }
    assert shown.organization.remaining_seconds == 37
    assert shown.members["user_1"].remaining_seconds == 0


# Who is told


async def test_each_change_is_told_once_with_all_limits_of_the_organization(
    database_url: str, teller: LimitsTeller, ledger: ToldLedger
) -> None:
    await set_limit(database_url, "org_1", None, 60)
    await set_limit(database_url, "org_1", "user_1", 30)
    await set_limit(database_url, "org_1", "user_2", None)
    await set_limit(database_url, "org_2", "user_1", 5)
    assert await teller.tell() == 2
    assert ledger.told == [
        AccountLimits("org_1", 2, 60, {"user_1": 30}),
        AccountLimits("org_2", 1, UNLIMITED, {"user_1": 5}),
    ]
    assert await teller.tell() == 0
    await set_limit(database_url, "org_1", "user_1", None)
    await teller.tell()
    assert ledger.told[2:] == [AccountLimits("org_1", 3, 60, {})]


@pytest.mark.parametrize(
    ("sql", "limit", "members"),
    [
        ("UPDATE organizations SET monthly_audio_hours_limit = 2", 7200, {"user_1": 30}),
        ("UPDATE organizations SET monthly_audio_hours_limit = -1", UNLIMITED, {"user_1": 30}),
        ("UPDATE organization_members SET monthly_audio_hours_limit = NULL", 60, {}),
        ("UPDATE organization_members SET user_id = 'user_2'", 60, {"user_2": 30}),
        ("DELETE FROM organization_members", 60, {}),
        ("DELETE FROM organizations", UNLIMITED, {}),
        ("TRUNCATE organization_members", 60, {}),
        ("TRUNCATE organizations CASCADE", UNLIMITED, {}),
    ],
)
async def test_any_change_in_postgres_is_told(
    database_url: str,
    connection: asyncpg.Connection,
    teller: LimitsTeller,
    ledger: ToldLedger,
    sql: str,
    limit: int,
    members: dict[str, int],
) -> None:
    await set_limit(database_url, "org_1", None, 60)
    await set_limit(database_url, "org_1", "user_1", 30)
    await teller.tell()
    await connection.execute(sql)
    await teller.tell()
    latest = ledger.told[-1]
    assert (latest.organization_limit, latest.member_limits) == (limit, members)
    assert latest.version > ledger.told[0].version


async def test_what_changes_no_limit_is_not_told(
    database_url: str, connection: asyncpg.Connection, teller: LimitsTeller, writer: Writer
) -> None:
    await set_limit(database_url, "org_1", "user_1", 30)
    await teller.tell()
    await set_limit(database_url, "org_1", "user_1", 30)
    await connection.execute("UPDATE organizations SET name = 'Org'")
    await writer.write([due((present_minute(), FULL))])  # moves the member's figures
    assert await teller.tell() == 0


async def test_a_teller_that_dies_between_telling_and_noting_tells_again(
    database_url: str,
    connection: asyncpg.Connection,
    teller: LimitsTeller,
    ledger: ToldLedger,
) -> None:
    await set_limit(database_url, "org_1", None, 60)
    ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await teller.tell()
    ledger.away = False
    assert await teller.tell() == 1
    await connection.execute("UPDATE limit_changes SET told_version = 0")
    assert await teller.tell() == 1
    assert ledger.told == [AccountLimits("org_1", 1, 60, {})] * 2


async def test_a_change_between_reading_and_noting_is_not_lost(
    database_url: str, database: Database, ledger: ToldLedger
) -> None:
    class ChangedMeanwhile(ToldLedger):
        async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
            if not ledger.told:
                await set_limit(database_url, "org_1", None, 61)
            await ledger.set_limits(limits)

    teller = LimitsTeller(ChangedMeanwhile(), database)
    await set_limit(database_url, "org_1", None, 60)
    assert [await teller.tell() for _ in range(3)] == [1, 1, 0]
    assert [each.organization_limit for each in ledger.told] == [60, 61]


async def test_a_change_that_is_not_committed_keeps_no_other_from_being_told(
    database_url: str, connection: asyncpg.Connection, teller: LimitsTeller, ledger: ToldLedger
) -> None:
    await set_limit(database_url, "org_1", None, 60)
    async with connection.transaction():
        await connection.execute("UPDATE organizations SET monthly_audio_hours_limit = 1")
        await set_limit(database_url, "org_2", None, 70)
        async with asyncio.timeout(30):
            assert await teller.tell() == 2
            assert await teller.tell() == 1  # org_1 couldn't be noted, so again
    await teller.tell()
    assert ledger.told[-1] == AccountLimits("org_1", 2, 3600, {})
    assert await teller.tell() == 0


async def test_a_version_is_of_the_limits_it_is_read_with(
    database_url: str,
    connection: asyncpg.Connection,
    storage: PostgresStorage,
) -> None:
    """Changes of one organization wait for each other, so no later version is without an earlier
    one's change."""
    await set_limit(database_url, "org_1", None, 60)
    async with connection.transaction():
        await set_limit(database_url, "org_1", "user_1", 20)
        await connection.execute("UPDATE organizations SET monthly_audio_hours_limit = 1")
        later = asyncio.create_task(set_limit(database_url, "org_1", "user_1", 10))
        await until_somebody_waits(connection)
        account = await storage.load_account("org_1", "user_1", NOW)
        assert (account.organization_limit, account.member_limit) == (60, 20)
        assert account.limits_version == 2
    await later
    account = await storage.load_account("org_1", "user_1", NOW)
    assert (account.organization_limit, account.member_limit) == (3600, 10)
    assert account.limits_version == 4


async def test_more_changes_than_one_batch_are_all_told(
    connection: asyncpg.Connection, teller: LimitsTeller, ledger: ToldLedger
) -> None:
    await connection.execute(
        "INSERT INTO organizations (id, monthly_audio_hours_limit)"
        " SELECT 'org_' || n, n FROM generate_series(1, $1::int) AS n",
        BATCH_ORGANIZATIONS + 1,
    )
    assert [await teller.tell() for _ in range(3)] == [BATCH_ORGANIZATIONS, 1, 0]
    assert len({each.organization_id for each in ledger.told}) == BATCH_ORGANIZATIONS + 1


async def test_a_running_teller_outlives_a_ledger_that_is_away(
    database_url: str, teller: LimitsTeller, ledger: ToldLedger
) -> None:
    stop, ledger.away = asyncio.Event(), True
    running = asyncio.create_task(teller.run(stop))
    await set_limit(database_url, "org_1", None, 60)
    async with asyncio.timeout(30):
        while ledger.refusals < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        ledger.away = False
        while not ledger.told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await running
    assert ledger.told == [AccountLimits("org_1", 1, 60, {})]


# Members' figures


async def member(connection: asyncpg.Connection, user: str = "user_1") -> tuple[object, int]:
    row = await connection.fetchrow(
        "SELECT current_month_start, current_month_minutes_used FROM organization_members"
        " WHERE organization_id = 'org_1' AND user_id = $1",
        user,
    )
    assert row is not None
    return row["current_month_start"], row["current_month_minutes_used"]


async def test_a_members_minutes_follow_the_rows(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    session = session_id()
    await writer.write([due((present_minute(), FULL), session=session)])
    await set_limit(database_url, "org_1", "user_1", None)
    await set_limit(database_url, "org_1", "user_2", None)
    assert await member(connection) == (this_month(), 1)
    await writer.write([due((present_minute() + 1, 0b1), session=session)])
    assert await member(connection) == (this_month(), 2)
    assert await member(connection, "user_2") == (this_month(), 0)
    before = present_minute() - 31 * 24 * 60
    await writer.write([due((before, FULL), session=session)])
    assert await member(connection) == (this_month(), 2)
    await connection.execute("DELETE FROM usage_tracking WHERE seconds_recorded = 1")
    assert await member(connection) == (this_month(), 1)
    await connection.execute("TRUNCATE usage_tracking")
    assert await member(connection) == (this_month(), 0)


async def test_the_next_months_first_minute_starts_a_members_figures_anew(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    await set_limit(database_url, "org_1", "user_1", None)
    await writer.write([due((present_minute(), FULL), (present_minute() + 1, FULL))])
    await writer.write([due((present_minute() + 31 * 24 * 60, FULL))])
    start, minutes = await member(connection)
    assert (str(start) > str(this_month()), minutes) == (True, 1)


async def test_a_member_made_while_their_first_minute_is_being_written_has_it(
    connection: asyncpg.Connection, other_connection: asyncpg.Connection, database_url: str
) -> None:
    async with other_connection.transaction():
        await write(other_connection, [due((present_minute(), FULL))])
        making = asyncio.create_task(set_limit(database_url, "org_1", "user_1", 90))
        await until_somebody_waits(connection)
    await making
    assert await member(connection) == (this_month(), 1)


async def test_shown_figures_have_adjustments_in_them_and_overage_apart(
    database_url: str, connection: asyncpg.Connection, writer: Writer
) -> None:
    await writer.write([due((present_minute(), FULL))])
    await set_limit(database_url, "org_1", None, 50)
    await connection.execute(
        "INSERT INTO usage_adjustments "
        "(organization_id, user_id, seconds, effective_at, reason, author) "
        "VALUES ('org_1', 'user_1', -5, to_timestamp($1), 'an outage', 'olga')",
        present_minute() * 60,
    )
    shown = await load_limits(database_url, "org_1")
    assert shown is not None
    assert shown.organization == LimitFigures(50, 55)
    assert shown.members == {"user_1": LimitFigures(None, 55)}
    await connection.execute("UPDATE plans SET soft_cap = true")
    await connection.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ('org_1', 'starter')"
    )
    shown = await load_limits(database_url, "org_1")
    assert shown is not None
    assert shown.organization == LimitFigures(50, 50, 5)
