"""Billing periods between a real Valkey and a real Postgres."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from command.embedded import EmbeddedValkey
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.keys import PARTITIONS, partition_of, prefix_of
from meter.ledger.types import (
    CountItem,
    LookItem,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
    Standing,
)
from meter.periods import Period, around
from persistence.periods import set_cycle
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.ledger.clock import CLOCK_KEY, library_on_test_clock
from tests.ledger.servers import Valkey
from tests.persistence.billing import AUCKLAND, assert_periods_follow_rows, at
from tests.persistence.builders import session_id, stored_session
from tests.persistence.test_end_to_end import flusher_process

pytestmark = pytest.mark.integration


class Turned:
    """A ledger on a clock that the test sets, seeded and flushed as by a gateway and a flusher."""

    def __init__(
        self, client: redis.asyncio.Redis, storage: PostgresStorage, writer: Writer
    ) -> None:
        self.ledger = Ledger(client, Rules(), library=library_on_test_clock())
        self.now = 0
        self._client = client
        self._storage = storage
        self._writer = writer

    async def set_clock(self, now: int) -> None:
        self.now = now
        await self._client.hset(CLOCK_KEY, mapping={"s": now, "u": 0})

    async def open(self, organization: str) -> SessionKey:
        key = SessionKey(organization, session_id())
        request = OpenRequest(key, "ann", "recording", 1, "", create=True)
        opened = await self.ledger.open(request)
        if opened.status is OpenStatus.ACCOUNT_COLD:
            await self.seed(organization)
            opened = await self.ledger.open(request)
        assert opened.status is OpenStatus.CREATED
        return key

    async def seed(self, organization: str) -> None:
        account = await self._storage.load_account(organization, "ann", self.now)
        await self.ledger.seed_account(account)

    async def count(self, key: SessionKey, first: int, last: int) -> Standing:
        (counted,) = await self.ledger.count([CountItem(key, ((first, last),))])
        assert counted.new == last - first + 1
        assert counted.standing is not None
        return counted.standing

    async def used(self, organization: str, start: int) -> tuple[int, int]:
        """What the ledger has of a period: the organization's seconds and the member's."""
        prefix = prefix_of(partition_of(organization))
        name = f"{prefix}:u:{start}:{organization}"
        values = await self._client.hmget(name, ["o", "m|ann"])
        return int(values[0] or 0), int(values[1] or 0)

    async def empty(self) -> None:
        await self._client.flushall()
        await self.set_clock(self.now)

    async def flush(self) -> None:
        answers = await self.ledger.collect(range(PARTITIONS), "flusher", 10, 100)
        outcome = await self._writer.write([each for answer in answers for each in answer.due])
        assert not outcome.refusals
        await self.ledger.settle(outcome.settlements)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, as its clock is the test's."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def turned(valkey: Valkey, storage: PostgresStorage, writer: Writer) -> AsyncIterator[Turned]:
    client = redis.asyncio.Redis.from_url(valkey.url)
    turned = Turned(client, storage, writer)
    yield turned
    await turned.ledger.aclose()


# Long after the tests: a cycle that is set holds from then on.
@pytest.mark.parametrize(
    ("zone", "turn"),
    [
        (AUCKLAND, at("2047-04-01T00:00+13:00")),
        (AUCKLAND, at("2047-01-01T00:00+13:00")),
        ("Asia/Kathmandu", at("2048-03-01T00:00+05:45")),
        ("America/New_York", at("2047-01-01T00:00-05:00")),
    ],
)
async def test_a_session_over_the_months_end_is_split_to_the_second(
    database_url: str,
    connection: asyncpg.Connection,
    storage: PostgresStorage,
    turned: Turned,
    zone: str,
    turn: int,
) -> None:
    """And its seconds that come late go to the month of their own time."""
    await connection.execute("SELECT ensure_usage_partitions('2046-12-01Z', 18)")
    await set_cycle(database_url, "org_1", zone)
    await turned.set_clock(turn - 90)
    key = await turned.open("org_1")
    await turned.set_clock(turn - 50)
    before = await turned.count(key, 0, 20)
    assert (before.period.end, before.used, before.member_used) == (turn, 21, 21)
    await turned.set_clock(turn + 45)
    after = await turned.count(key, 60, 131)  # 30 of them before the turn
    assert (after.period.start, after.used, after.member_used) == (turn, 42, 42)
    late = await turned.count(key, 30, 59)  # comes after the turn, and is of before it
    assert late == after
    await turned.flush()  # all but the present minute
    assert await turned.used("org_1", before.period.start) == (81, 81)
    assert await turned.used("org_1", turn) == (42, 42)

    await turned.ledger.close(key, EndReason.STOPPED)
    await turned.flush()
    account = await storage.load_account("org_1", "ann", turned.now)
    assert account.periods[:2] == (before.period, after.period)
    assert account.organization_used == account.member_used == (81, 42, 0)
    await assert_periods_follow_rows(connection)
    await turned.empty()
    await turned.seed("org_1")
    (look,) = await turned.ledger.look([LookItem("org_1", ("ann",))])
    assert look.standings == (after,)
    assert await turned.used("org_1", before.period.start) == (81, 81)


@pytest.fixture
async def ledger(valkey_server: EmbeddedValkey) -> AsyncIterator[Ledger]:
    """A ledger on the run's Valkey."""
    ledger = Ledger.connect(valkey_server.url)
    yield ledger
    await ledger.aclose()


async def test_a_change_of_zone_reaches_a_live_account_and_changes_nothing_of_its_present_period(
    database_url: str,
    connection: asyncpg.Connection,
    storage: PostgresStorage,
    valkey_server: EmbeddedValkey,
    ledger: Ledger,
) -> None:
    organization, now = f"org_{session_id()}", int(time.time())
    key = SessionKey(organization, session_id())
    await ledger.seed_account(await storage.load_account(organization, "ann", now))
    opened = await ledger.open(OpenRequest(key, "ann", "recording", 1, "", create=True))
    assert opened.status is OpenStatus.CREATED
    await ledger.count([CountItem(key, ((0, 1),))])
    async with flusher_process(database_url, valkey_server.url):
        async with asyncio.timeout(60):
            while not await connection.fetchval(  # noqa: ASYNC110  # by another process
                "SELECT count(*) FROM interview_sessions"
            ):
                await asyncio.sleep(0.05)
        changed = await set_cycle(database_url, organization, AUCKLAND)
        expected = (*around(now)[:2], changed.next)
        async with asyncio.timeout(30):
            while await _periods(valkey_server, organization) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with asyncio.timeout(30):
            while not await connection.fetchval(  # noqa: ASYNC110  # by another process
                "SELECT count(*) = 4 FROM billing_periods"
            ):
                await asyncio.sleep(0.02)
        (counted,) = await ledger.count([CountItem(key, ((0, 2),))])
        assert counted.standing is not None
        assert (counted.new, counted.standing.used, counted.standing.member_used) == (1, 3, 3)
        assert counted.standing.period == around(now)[1]
        await ledger.close(key, EndReason.STOPPED)

    assert (await stored_session(connection, key.session_id))["seconds_recorded"] == 3
    account = await storage.load_account(organization, "ann", now)
    assert account.periods == expected
    assert account.organization_used == (0, 3, 0)
    assert account.periods[2].end % 86_400 in (11 * 3600, 12 * 3600)
    kept = await connection.fetch("SELECT seconds_used FROM period_usage")
    assert [row["seconds_used"] for row in kept] == [3]


async def _periods(server: EmbeddedValkey, organization: str) -> tuple[Period, ...]:
    """The periods that the ledger has of an account."""
    async with redis.asyncio.Redis.from_url(server.url) as client:
        name = f"{prefix_of(partition_of(organization))}:c:{organization}"
        text = await client.hget(name, "p")
    assert isinstance(text, bytes)
    return tuple(
        Period(*(int(bound) for bound in each.split("-"))) for each in text.decode().split(",")
    )
