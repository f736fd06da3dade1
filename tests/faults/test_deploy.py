"""A deploy under load: processes restarted one by one, two releases at once, migrations before and
after. No session ends, and no second is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meter.codes import EndReason
from meter.ledger.functions import LIBRARY, VERSION
from persistence.migrations import Migration, Phase, migrate, shipped
from tests.faults.ask import ask, settled
from tests.faults.crowd import Crowd
from tests.faults.habits import Steady
from tests.faults.house import House
from tests.faults.judge import judge
from tests.faults.launch import LIBRARY_VERSION
from tests.faults.processes import restart
from tests.faults.run import SETTINGS
from tests.faults.stores import command

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

RECORDERS = 40
ORGANIZATIONS = 5
# Before, between and after what a deploy does.
WORK_SECONDS = 1.0
END_SECONDS = 30.0
NEXT_RELEASE = {LIBRARY_VERSION: str(VERSION + 1)}


@asynccontextmanager
async def recording(directory: Path) -> AsyncIterator[tuple[House, Crowd]]:
    """Two gateways, two flushers, and recorders that record on and on. In the end each is told to
    stop, and what is billed has to be what they recorded."""
    async with House(directory, gateways=2, flushers=2, settings=SETTINGS) as house:
        crowd = Crowd(house, seed=7)
        try:
            for number in range(RECORDERS):
                name = f"org-{number % ORGANIZATIONS}"
                crowd.start(name, f"user-{number}", Steady(number, again=0.1))
            await asyncio.sleep(WORK_SECONDS)
            yield house, crowd
            await asyncio.sleep(WORK_SECONDS)
            assert_none_has_ended(crowd)
            assert await crowd.finish(END_SECONDS)
        finally:
            await crowd.leave()
        await assert_exact(house, crowd)


def assert_none_has_ended(crowd: Crowd) -> None:
    """All sessions go on that began, each as the one that it was."""
    assert crowd.failures == []
    assert len(crowd.running) == RECORDERS == len(crowd.books)
    assert [book.session_id for book in crowd.books if book.end or book.stop_told_at] == []
    assert sum(book.new_origins for book in crowd.books) == 0


async def assert_exact(house: House, crowd: Crowd) -> None:
    """Each recorded second is billed once."""
    assert {book.end.reason for book in crowd.books if book.end} == {EndReason.STOPPED}
    assert await settled(house, END_SECONDS)
    verdict = judge(crowd.books, await ask(house, crowd.books))
    assert verdict.findings == []
    assert (verdict.lost, verdict.twice) == (0, 0)
    assert verdict.counted > RECORDERS * WORK_SECONDS
    assert verdict.counted == len({(b.session_id, s) for b in crowd.books for s in b.recorded})


async def test_sigterm_to_one_gateway_after_the_other_ends_no_session_and_loses_no_second(
    directory: Path,
) -> None:
    async with recording(directory) as (house, crowd):
        for unit in house.gateways:
            await restart(unit, {})
            assert_none_has_ended(crowd)
            await asyncio.sleep(WORK_SECONDS)
        assert sum(book.connections > 1 for book in crowd.books) > RECORDERS / 2


async def libraries(house: House) -> set[str]:
    """The function libraries that Valkey has."""
    listed = await command(house.valkey, "FUNCTION LIST")
    return {bytes(each[1]).decode() for each in listed}


async def test_a_new_version_of_the_functions_beside_the_old_counts_the_same_sessions(
    directory: Path,
) -> None:
    async with recording(directory) as (house, crowd):
        for unit in (house.gateways[0], house.flushers[0]):
            await restart(unit, NEXT_RELEASE)
        house.front.cut()  # all change from one release to the other, or back to it
        await asyncio.sleep(WORK_SECONDS)
        both = {LIBRARY.name, LIBRARY.of_version(VERSION + 1).name}
        assert await libraries(house) == both
        assert len(both) == 2
        await command(house.valkey, "FUNCTION FLUSH")
        await asyncio.sleep(WORK_SECONDS)
        assert await libraries(house) == both
        assert_none_has_ended(crowd)
        for unit in (house.gateways[1], house.flushers[1]):
            await restart(unit, NEXT_RELEASE)
        assert_none_has_ended(crowd)


async def test_migrations_before_and_after_a_deploy_disturb_no_process_of_either_release(
    directory: Path,
) -> None:
    known = with_more(
        "note.sql",
        """
        ALTER TABLE usage_tracking ADD COLUMN note text;
        ALTER TABLE interview_sessions ADD COLUMN note text NOT NULL DEFAULT '';
        CREATE INDEX usage_tracking_note ON usage_tracking (note);
        """,
        "no_note.after.sql",
        """
        ALTER TABLE usage_tracking DROP COLUMN note;
        ALTER TABLE interview_sessions DROP COLUMN note;
        """,
    )
    async with recording(directory) as (house, crowd):
        assert await migrate_while_running(house, known, Phase.BEFORE) == [known[-2].name]
        await asyncio.sleep(WORK_SECONDS)
        assert_none_has_ended(crowd)
        for unit in house.units:
            await restart(unit, NEXT_RELEASE)
        assert await migrate_while_running(house, known, Phase.AFTER) == [known[-1].name]
        await asyncio.sleep(WORK_SECONDS)


def with_more(*names_and_sql: str) -> list[Migration]:
    """The program's migrations and some more: a name and its SQL in turn."""
    pairs = zip(names_and_sql[::2], names_and_sql[1::2], strict=True)
    more = [
        Migration(number, f"{number:04d}_{name}", sql)
        for number, (name, sql) in enumerate(pairs, len(shipped()) + 1)
    ]
    return [*shipped(), *more]


async def migrate_while_running(
    house: House, known: Sequence[Migration], phase: Phase
) -> list[str]:
    """What was applied."""
    connection = await house.database()
    try:
        return await migrate(connection, known, phase)
    finally:
        await connection.close()
