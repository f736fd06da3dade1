"""Flushed rows a second against `COPY`.

Flushed: `--flush-rows` minutes, each a new row, through `persistence.writer.write`, which is what
the flusher calls, in batches of 2,000 (a minute of every session), each batch its own
transaction. With it go the accounts' locks, the routing to the month's partition, and the triggers
that keep the months' and the sessions' figures.

`COPY`: the same rows in one `COPY`, one transaction, into the same table, `usage_tracking`, where
it sets off the same triggers, once for all rows. The target is set against this one. Beside it the
same `COPY` into a plain table of the same definition (columns, generated column, checks, primary
key, indexes; no partitions, no triggers): the best that Postgres does with such rows, and nothing
of what the flusher's write is for.

Merged: the flushed rows once more, each with other seconds of its minute, as late heartbeats
give.

One connection, binary arguments, fsync on, a checkpoint before each part. Making the rows is not
timed, turning them into the driver's arguments is, for the flusher and for `COPY`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import asyncpg

from meter.ledger.types import DueSession, Minute, SessionKey, SessionState
from persistence.writer import write
from tests.bench.tokens import organization_name

SESSIONS = 2000
FIRST_HALF = (1 << 30) - 1
SECOND_HALF = FIRST_HALF << 30
COPIED_COLUMNS = ("session_id", "organization_id", "user_id", "minute_timestamp", "seconds_mask")

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class FlushRates:
    """Rows a second of one round."""

    rows: int
    flushed_rows_per_second: float
    merged_rows_per_second: float
    copied_rows_per_second: float
    plain_copied_rows_per_second: float

    @property
    def share_of_copy(self) -> float:
        """Return the flushed rows over those copied into the same table."""
        return self.flushed_rows_per_second / self.copied_rows_per_second

    @property
    def share_of_plain_copy(self) -> float:
        """Return the flushed rows over those copied into a table without triggers."""
        return self.flushed_rows_per_second / self.plain_copied_rows_per_second


def measure_flush(database_url: str, rows: int) -> FlushRates:
    """Measure one round in a database of which `usage_tracking` may be emptied."""
    return asyncio.run(_measure(database_url, rows))


async def _measure(database_url: str, rows: int) -> FlushRates:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("TRUNCATE usage_tracking")
        first_minute = await _month_start_minute(connection)
        minutes = range(first_minute, first_minute + -(-rows // SESSIONS))
        states = bench_sessions(first_minute)
        await write(connection, [DueSession(state, True, "", ()) for state in states])

        async def flush(batch: Sequence[DueSession]) -> None:
            await write(connection, batch)

        return FlushRates(
            rows=len(minutes) * SESSIONS,
            flushed_rows_per_second=await _rate(
                connection, flush, [due_batch(states, minute, FIRST_HALF) for minute in minutes]
            ),
            merged_rows_per_second=await _rate(
                connection, flush, [due_batch(states, minute, SECOND_HALF) for minute in minutes]
            ),
            plain_copied_rows_per_second=await _plain_copy_rate(connection, states, minutes),
            copied_rows_per_second=await _same_table_copy_rate(connection, states, minutes),
        )
    finally:
        await connection.close()


def bench_sessions(first_minute: int) -> list[SessionState]:
    """Return new sessions, in no order that the database would like."""
    return [
        SessionState(
            key=SessionKey(organization_name(number), str(uuid4())),
            user_id=f"user-{number}",
            kind="recording",
            origin=first_minute * 60,
            revision=1,
        )
        for number in range(SESSIONS)
    ]


def due_batch(states: Sequence[SessionState], minute: int, mask: int) -> list[DueSession]:
    """Return what the ledger gives a flusher once a minute is over: this minute of all sessions."""
    return [DueSession(state, False, "", (Minute(minute, mask),)) for state in states]


async def _rate(
    connection: asyncpg.Connection,
    take: Callable[[Sequence[Batch]], Awaitable[None]],
    batches: Sequence[Sequence[Batch]],
) -> float:
    """Return the rows a second at which `take` takes the batches, one after the other."""
    await connection.execute("CHECKPOINT")
    started = time.perf_counter()
    for batch in batches:
        await take(batch)
    return sum(map(len, batches)) / (time.perf_counter() - started)


async def _plain_copy_rate(
    connection: asyncpg.Connection, states: Sequence[SessionState], minutes: range
) -> float:
    await connection.execute("DROP TABLE IF EXISTS bench_copy")
    await connection.execute("CREATE TABLE bench_copy (LIKE usage_tracking INCLUDING ALL)")
    return await _copy_rate(connection, "bench_copy", states, minutes)


async def _same_table_copy_rate(
    connection: asyncpg.Connection, states: Sequence[SessionState], minutes: range
) -> float:
    await connection.execute("TRUNCATE usage_tracking")
    return await _copy_rate(connection, "usage_tracking", states, minutes)


async def _copy_rate(
    connection: asyncpg.Connection, table: str, states: Sequence[SessionState], minutes: range
) -> float:
    async def copy(rows: Sequence[tuple[SessionState, int]]) -> None:
        records = [
            (
                UUID(state.key.session_id),
                state.key.organization_id,
                state.user_id,
                datetime.fromtimestamp(minute * 60, UTC),
                FIRST_HALF,
            )
            for state, minute in rows
        ]
        await connection.copy_records_to_table(table, records=records, columns=COPIED_COLUMNS)

    ordered = sorted(states, key=lambda state: state.key.session_id)
    return await _rate(connection, copy, [[(one, each) for each in minutes for one in ordered]])


async def _month_start_minute(connection: asyncpg.Connection) -> int:
    """Return the first minute of the present UTC month, which has a partition."""
    start: datetime = await connection.fetchval("SELECT date_trunc('month', now(), 'UTC')")
    return int(start.timestamp()) // 60
