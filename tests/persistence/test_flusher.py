"""The flusher between a ledger in memory and a real Postgres: nothing is settled before its commit,
and whatever fails is done again.
"""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from command.embedded import EmbeddedPostgres
from meter.ledger.types import DueSession, LedgerUnavailable, StorageUnavailable
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.flusher import Flusher, FlushOptions
from persistence.metrics import FlusherMetrics
from persistence.writer import Outcome, Writer
from tests.persistence.builders import (
    THIS_MINUTE,
    assert_figures_follow_rows,
    due,
    session_id,
    stored_minutes,
)
from tests.persistence.fake_ledger import FakeLedger

pytestmark = pytest.mark.integration

QUICK = FlushOptions(interval_seconds=0.02, stop_seconds=5.0)


def value(metrics: FlusherMetrics, name: str, **labels: str) -> float | None:
    """A figure as Prometheus would get it."""
    return metrics.registry.get_sample_value(name, labels)


async def until(condition: object, seconds: float = 30.0) -> None:
    """Wait until a call gives something true."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what it looks at sets no event
            await asyncio.sleep(0.01)


class Running:
    """A flusher in the background, while the block lasts."""

    def __init__(self, flusher: Flusher) -> None:
        self.flusher = flusher
        self.stop = asyncio.Event()

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self.flusher.run(self.stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 60)


async def test_what_is_due_is_written_and_settled(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    ledger, metrics = FakeLedger(), FlusherMetrics()
    sessions = [due((THIS_MINUTE, 0b11), organization=f"org_{at}") for at in range(50)]
    ledger.add(*sessions)
    flusher = Flusher(ledger, writer, FlushOptions(batch_rows=7), metrics)

    assert await flusher.flush() is False

    assert ledger.due == {}
    assert len(await stored_minutes(connection)) == 50
    assert value(metrics, "meter_flusher_rows_total") == 50
    assert value(metrics, "meter_flusher_sessions_total") == 50
    assert value(metrics, "meter_flusher_batch_seconds_count") > 10  # type: ignore[operator]
    await assert_figures_follow_rows(connection)


async def test_a_session_with_nothing_to_write_is_settled_too(writer: Writer) -> None:
    ledger = FakeLedger()
    ledger.add(due(row=False))
    await Flusher(ledger, writer).flush()
    assert ledger.due == {}


async def test_more_is_told_until_all_is_done(writer: Writer) -> None:
    ledger = FakeLedger()
    ledger.add(*(due((THIS_MINUTE, 1)) for _ in range(5)))
    flusher = Flusher(ledger, writer, FlushOptions(sessions=2))
    assert [await flusher.flush() for _ in range(3)] == [True, True, False]
    assert ledger.due == {}


async def test_a_crash_between_commit_and_settle_repeats_the_work(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    ledger, session = FakeLedger(away_for={"settle"}), session_id()
    ledger.add(due((THIS_MINUTE, 0b11), session=session))
    with pytest.raises(LedgerUnavailable):
        await Flusher(ledger, writer).flush()
    assert await stored_minutes(connection) == {(session, THIS_MINUTE): 0b11}
    assert len(ledger.due) == 1

    # Meanwhile more seconds came; the next flusher writes all of it.
    ledger.away_for.clear()
    ledger.leases.clear()
    ledger.flushers.clear()
    ledger.add(due((THIS_MINUTE, 0b100), (THIS_MINUTE + 1, 0b1), session=session))
    await Flusher(ledger, writer).flush()

    assert ledger.due == {}
    assert sorted((await stored_minutes(connection)).values()) == [0b1, 0b111]
    await assert_figures_follow_rows(connection)


class Refusing(Writer):
    """A writer whose commits fail."""

    async def write(self, due: Sequence[DueSession]) -> Outcome:
        raise StorageUnavailable("no commit")


async def test_nothing_is_settled_without_a_commit(database: Database) -> None:
    ledger = FakeLedger()
    ledger.add(due((THIS_MINUTE, 1)))
    with pytest.raises(StorageUnavailable):
        await Flusher(ledger, Refusing(database)).flush()
    assert "settle" not in ledger.calls
    assert len(ledger.due) == 1


async def test_seconds_that_come_while_writing_stay_due(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    ledger, session = FakeLedger(), session_id()
    ledger.add(due((THIS_MINUTE, 0b1), session=session))
    collected = await ledger.collect(range(64), "somebody", 1, 10)
    (old,) = (session for answer in collected for session in answer.due)
    outcome = await writer.write([old])
    ledger.add(due((THIS_MINUTE, 0b10), session=session, row=False))
    await ledger.settle(outcome.settlements)
    assert len(ledger.due) == 1

    ledger.leases.clear()
    await Flusher(ledger, writer).flush()
    assert await stored_minutes(connection) == {(session, THIS_MINUTE): 0b11}


async def test_a_refused_session_is_set_aside_and_the_others_written(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    ledger, metrics = FakeLedger(), FlusherMetrics()
    bad = due((THIS_MINUTE, 0))
    ledger.add(*(due((THIS_MINUTE, 1)) for _ in range(9)), bad)
    flusher = Flusher(ledger, writer, metrics=metrics)

    assert await flusher.flush() is False

    assert list(ledger.aside) == [bad.state.key]
    assert "CheckViolationError" in ledger.aside[bad.state.key]
    assert list(ledger.due) == [bad.state.key]
    assert value(metrics, "meter_flusher_set_aside_total") == 1
    assert len(await stored_minutes(connection)) == 9


async def test_two_flushers_over_the_same_rows_are_only_wasteful(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """Each believes to hold all leases, as after a lapse."""
    sessions = [
        due((THIS_MINUTE, 1 << at), (THIS_MINUTE + 1, 0b1), organization=f"org_{at % 4}")
        for at in range(40)
    ]
    databases = [Database(database_url, name="test", max_connections=1) for _ in range(2)]
    ledgers = [FakeLedger(), FakeLedger()]
    ledgers[0].add(*sessions)
    ledgers[1].add(*reversed(sessions))
    options = FlushOptions(batch_rows=10)
    await asyncio.gather(
        *(
            Flusher(ledger, Writer(database), options).flush()
            for ledger, database in zip(ledgers, databases, strict=True)
        )
    )
    assert all(not ledger.due and not ledger.aside for ledger in ledgers)
    assert len(await stored_minutes(connection)) == 80
    await assert_figures_follow_rows(connection)
    for database in databases:
        await database.aclose()


async def test_several_flushers_share_the_partitions_and_what_one_leaves_the_others_take(
    writer: Writer,
) -> None:
    ledger = FakeLedger()

    def holders() -> list[int]:
        held = list(ledger.leases.values())
        return sorted(held.count(name) for name in set(held))

    async with Running(Flusher(ledger, writer, QUICK)):
        await until(lambda: holders() == [64])
        async with Running(Flusher(ledger, writer, QUICK)):
            await until(lambda: holders() == [32, 32])
            async with Running(Flusher(ledger, writer, QUICK)):
                await until(lambda: holders() == [21, 21, 22])
                ledger.add(*(due((THIS_MINUTE, 1), organization=f"org_{at}") for at in range(40)))
                await until(lambda: not ledger.due)
            await until(lambda: holders() == [32, 32])
        await until(lambda: holders() == [64])
    assert ledger.leases == {}
    assert ledger.flushers == set()


async def test_a_lease_keeps_other_flushers_out_while_it_lasts(writer: Writer) -> None:
    ledger = FakeLedger()
    ledger.leases = dict.fromkeys(range(64), "one that died")
    ledger.add(due((THIS_MINUTE, 1)))
    flusher = Flusher(ledger, writer, QUICK)
    assert await flusher.flush() is False
    assert len(ledger.due) == 1
    ledger.leases.clear()
    await flusher.flush()
    assert ledger.due == {}


async def test_told_to_stop_it_flushes_what_is_due(writer: Writer) -> None:
    ledger = FakeLedger()
    options = FlushOptions(interval_seconds=60, sessions=2, stop_seconds=5)
    async with Running(Flusher(ledger, writer, options)):
        await until(lambda: "backlog" in ledger.calls)
        ledger.add(*(due((THIS_MINUTE, 1)) for _ in range(5)))
        assert len(ledger.due) == 5
    assert ledger.due == {}
    assert ledger.leases == {}
    assert "release" in ledger.calls[-2:]


async def test_it_goes_on_when_the_ledger_comes_back(writer: Writer) -> None:
    ledger, metrics = FakeLedger(away=True), FlusherMetrics()
    ledger.add(due((THIS_MINUTE, 1)))
    async with Running(Flusher(ledger, writer, QUICK, metrics)):
        await until(lambda: ledger.calls.count("muster") >= 2)
        assert value(metrics, "meter_flusher_failures_total", store="ledger") >= 2  # type: ignore[operator]
        ledger.away = False
        await until(lambda: not ledger.due)


async def test_stopping_while_both_stores_are_away_ends_soon(database: Database) -> None:
    ledger = FakeLedger(away=True)
    async with Running(Flusher(ledger, Refusing(database), QUICK)):
        await until(lambda: ledger.calls)
    assert "release" in ledger.calls[-2:]


async def test_a_killed_postgres_costs_nothing(private_server: EmbeddedPostgres) -> None:
    ledger, metrics = FakeLedger(), FlusherMetrics()
    database = Database(private_server.url, name="test", max_connections=1, timeout_seconds=2)
    given: dict[tuple[str, int], int] = {}

    def record(count: int) -> None:
        for _ in range(count):
            session = session_id()
            ledger.add(due((THIS_MINUTE, 0b101), session=session))
            given[session, THIS_MINUTE] = 0b101

    async with Running(Flusher(ledger, Writer(database), QUICK, metrics)):
        for ending in (private_server.kill, private_server.stop):
            record(20)
            await until(lambda: not ledger.due)
            record(20)
            await asyncio.to_thread(ending)
            record(20)
            failures = value(metrics, "meter_flusher_failures_total", store="postgres") or 0
            await until(
                lambda seen=failures: (
                    (value(metrics, "meter_flusher_failures_total", store="postgres") or 0) > seen
                )
            )
            assert ledger.due
            await asyncio.to_thread(private_server.restart)
            await until(lambda: not ledger.due)
    await database.aclose()

    connection = await asyncpg.connect(private_server.url)
    assert await stored_minutes(connection) == given
    await assert_figures_follow_rows(connection)
    await connection.close()


class WithoutPartitions(Writer):
    """A writer whose role may not make tables."""

    attempts = 0

    async def make_partitions_ahead(self) -> int:
        self.attempts += 1
        raise RowsRefused("permission denied")


async def test_partitions_that_cannot_be_made_stop_no_flush(
    database: Database, connection: asyncpg.Connection
) -> None:
    ledger, writer, session = FakeLedger(), WithoutPartitions(database), session_id()
    async with Running(Flusher(ledger, writer, QUICK)):
        await until(lambda: writer.attempts > 0)
        ledger.add(due((THIS_MINUTE, 1), session=session))
        await until(lambda: not ledger.due)
    assert await stored_minutes(connection) == {(session, THIS_MINUTE): 1}
