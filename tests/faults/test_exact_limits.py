"""Three gateways' processes and 200 live sessions of one organization with ten minutes left."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from meter.codes import CloseCode
from meter.ledger.driver import Ledger
from meter.ledger.types import LookItem, Standing
from persistence.limits import set_limit
from tests.faults.book import Book
from tests.faults.crowd import Crowd, until
from tests.faults.habits import Retransmitting, Steady
from tests.faults.house import House

pytestmark = pytest.mark.integration

ORGANIZATION = "acme"
SESSIONS = 200
MEMBERS = 40
LEFT_SECONDS = 600
USED_BEFORE_SECONDS = 3000
# Every eighth member may record less than the organization has left for each.
STRICT_MEMBERS, STRICT_SECONDS = frozenset(range(0, MEMBERS, 8)), 6
ROOMY_SECONDS = 400
GRACE_SECONDS = 2
# What is promised, and what a machine that is busy with other tests may add to the measurement.
STOP_WITHIN_SECONDS = 2.0
NOISE_SECONDS = 8.0
PAST_SECONDS = 300


def member(number: int) -> str:
    return f"user-{number % MEMBERS}"


@asynccontextmanager
async def three_gateways(directory: Path) -> AsyncIterator[House]:
    """An organization with ten of its sixty minutes left, and members with limits of their own."""
    settings = {
        "METER_STOP_GRACE_SECONDS": str(GRACE_SECONDS),
        "METER_FLUSH_INTERVAL_SECONDS": "0.5",
    }
    async with House(directory, gateways=3, flushers=2, settings=settings) as house:
        await use_before(house, USED_BEFORE_SECONDS)
        url = house.postgres.url
        await set_limit(url, ORGANIZATION, None, USED_BEFORE_SECONDS + LEFT_SECONDS)
        for number in range(MEMBERS):
            limit = STRICT_SECONDS if number in STRICT_MEMBERS else ROOMY_SECONDS
            await set_limit(url, ORGANIZATION, member(number), limit)
        yield house


async def use_before(house: House, seconds: int) -> None:
    """An ended session of this month, of a member without a limit."""
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    connection = await house.database()
    try:
        await connection.execute(
            """
            INSERT INTO usage_tracking
                (session_id, organization_id, user_id, minute_timestamp, seconds_mask)
            SELECT $1, $2, 'earlier', minute, (1::bigint << 60) - 1
            FROM generate_series(
                $3::timestamptz, $3 + ($4::integer - 60) * interval '1 second', interval '1 minute'
            ) AS minute
            """,
            uuid4(),
            ORGANIZATION,
            month,
            seconds,
        )
    finally:
        await connection.close()


async def put_live_sessions(house: House, began: int) -> dict[UUID, str]:
    """Sessions that Postgres has as live since `began`, as after a loss of the ledger."""
    sessions = {uuid4(): member(number) for number in range(SESSIONS)}
    connection = await house.database()
    try:
        await connection.executemany(
            """
            INSERT INTO interview_sessions
                (session_id, organization_id, user_id, started_at, revision)
            VALUES ($1, $2, $3, to_timestamp($4), 1)
            """,
            [(session, ORGANIZATION, user, began) for session, user in sessions.items()],
        )
    finally:
        await connection.close()
    return sessions


class Watch:
    """Notes when the organization's last second was counted, as the ledger has it."""

    def __init__(self, ledger: Ledger) -> None:
        self.used = 0
        self.full_at: float | None = None
        self._ledger = ledger

    async def run(self) -> None:
        item = LookItem(ORGANIZATION, (member(1),))
        while self.full_at is None:
            asked_at = time.monotonic()
            standing = (await self._ledger.look([item]))[0].standings[0]
            if isinstance(standing, Standing):
                self.used = standing.used - USED_BEFORE_SECONDS
                if self.used >= LEFT_SECONDS:
                    self.full_at = asked_at
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(house: House) -> AsyncIterator[Watch]:
    ledger = house.ledger()
    watch = Watch(ledger)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.aclose()


async def counted_in_redis(house: House) -> tuple[int, dict[str, int]]:
    """The organization's seconds since the test began, and each member's."""
    ledger = house.ledger()
    users = tuple(member(number) for number in range(MEMBERS))
    try:
        look = (await ledger.look([LookItem(ORGANIZATION, users)]))[0]
    finally:
        await ledger.aclose()
    standings = [standing for standing in look.standings if isinstance(standing, Standing)]
    assert len(standings) == MEMBERS
    used = {user: standing.member_used for user, standing in zip(users, standings, strict=True)}
    return standings[0].used - USED_BEFORE_SECONDS, used


async def counted_in_postgres(house: House, expected: int) -> dict[str, int]:
    """Each member's seconds, once there are as many as expected, or 5 s after the sessions' end."""
    connection = await house.database()
    deadline = time.monotonic() + 5.0 + NOISE_SECONDS
    try:
        while True:
            rows = await connection.fetch(
                "SELECT user_id, sum(seconds_recorded)::bigint AS seconds FROM usage_tracking "
                "WHERE organization_id = $1 AND user_id <> 'earlier' GROUP BY user_id",
                ORGANIZATION,
            )
            used = {row["user_id"]: row["seconds"] for row in rows}
            if sum(used.values()) >= expected or time.monotonic() > deadline:
                return used
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


def stopped_late(books: list[Book], full_at: float) -> dict[str, float]:
    """Sessions that were told to stop too late: how long after the last second was counted, or
    after they came back from another gateway."""
    late = {}
    for book in books:
        assert book.stop_told_at is not None
        assert book.started_at is not None
        waited = book.stop_told_at - max(full_at, book.started_at)
        if waited > STOP_WITHIN_SECONDS + NOISE_SECONDS:
            late[str(book.session_id)] = waited
    return late


async def assert_all_stopped_exactly(house: House, crowd: Crowd, watch: Watch) -> None:
    """Exactly what was left is counted; all are told in time, and closed after the grace."""
    await until(lambda: watch.full_at is not None, 60)
    assert await crowd.over(STOP_WITHIN_SECONDS + GRACE_SECONDS + 30)
    assert watch.full_at is not None
    assert {book.end.code for book in crowd.books if book.end} == {CloseCode.LIMIT_REACHED}
    assert {book.stop_reason for book in crowd.books} == {"limit_reached"}
    assert stopped_late(crowd.books, watch.full_at) == {}
    for book in crowd.books:
        assert book.ended_at is not None
        assert book.stop_told_at is not None
        grace = book.ended_at - book.stop_told_at
        assert GRACE_SECONDS - 1 <= grace <= GRACE_SECONDS + 1 + NOISE_SECONDS
    counted, members = await counted_in_redis(house)
    assert counted == LEFT_SECONDS
    written = await counted_in_postgres(house, LEFT_SECONDS)
    assert sum(written.values()) == LEFT_SECONDS
    assert {user: used for user, used in members.items() if used} == written
    # Others may use the organization's last second before one of these has all of its own.
    assert max(members[member(number)] for number in STRICT_MEMBERS) == STRICT_SECONDS


async def test_200_sessions_on_three_gateways_count_exactly_what_their_organization_has_left(
    directory: Path,
) -> None:
    async with three_gateways(directory) as house, watching(house) as watch:
        crowd = Crowd(house, seed=1)
        try:
            for number in range(SESSIONS):
                crowd.start(ORGANIZATION, member(number), Steady(number))
            await assert_all_stopped_exactly(house, crowd, watch)
        finally:
            await crowd.leave()


async def test_ranges_sent_again_and_a_killed_gateway_change_nothing_of_it(directory: Path) -> None:
    async with three_gateways(directory) as house, watching(house) as watch:
        crowd = Crowd(house, seed=2)
        began = int(time.time()) - PAST_SECONDS
        try:
            for session, user in (await put_live_sessions(house, began)).items():
                seed = random.Random(session.int).randrange(2**32)
                crowd.start(ORGANIZATION, user, Retransmitting(seed, began), session_id=session)
            await until(lambda: watch.used > 0, 60)
            assert watch.used < LEFT_SECONDS
            await asyncio.to_thread(house.gateways[0].program.kill)
            await assert_all_stopped_exactly(house, crowd, watch)
        finally:
            await crowd.leave()
        assert sum(book.connections > 1 for book in crowd.books) > 0
