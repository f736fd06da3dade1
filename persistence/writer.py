"""Makes due sessions durable: a batch is one transaction, of a few statements."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

import asyncpg

from meter.ledger.keys import partition_of
from meter.ledger.types import DueSession, Minute, SessionKey, SessionState, Settlement
from meter.periods import month_of
from persistence.database import Connection, Database
from persistence.errors import PartitionMissing, RowsRefused, TransactionConflict
from persistence.migrations import check_version
from persistence.statements import statement

CONFLICT_TRIES = 5
# Partitions are made on demand for any month up to this far ahead; a later one is a mistake.
AHEAD_SECONDS = 92 * 86_400
AHEAD_MONTHS = 3
MINUTE_COLUMNS = ("session_id", "organization_id", "user_id", "minute_timestamp", "seconds_mask")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A session whose rows Postgres will not take, and what it said."""

    key: SessionKey
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: committed and to be settled, or refused."""

    settlements: tuple[Settlement, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    rows: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.settlements + other.settlements,
            self.refusals + other.refusals,
            self.rows + other.rows,
        )


async def write(connection: Connection, due: Sequence[DueSession]) -> int:
    """Write sessions and minutes in one transaction; how many minutes' rows were given.

    Idempotent. Raises the driver's errors, and then nothing of the batch is written.
    """
    # In the keys' order, as two writers meet on the same rows where a lease was lost.
    ordered = sorted(due, key=lambda session: session.state.key.session_id)
    states = [(session.state, session.metadata) for session in ordered if session.row_due]
    minutes = [
        (session.state, minute)
        for session in ordered
        for minute in sorted(session.minutes, key=lambda minute: minute.minute)
    ]
    partitions = sorted({partition_of(session.state.key.organization_id) for session in due})
    async with connection.transaction():
        await connection.execute(statement("lock_accounts"), partitions)
        if states:
            await connection.execute(statement("write_sessions"), *_session_columns(states))
        if minutes:
            await _write_minutes(connection, minutes)
    return len(minutes)


async def _write_minutes(
    connection: Connection, minutes: Sequence[tuple[SessionState, Minute]]
) -> None:
    # Nearly always all rows are new, and a COPY costs Postgres much less than an upsert does.
    try:
        async with connection.transaction():
            await connection.copy_records_to_table(
                "usage_tracking", records=_minute_records(minutes), columns=MINUTE_COLUMNS
            )
    except (asyncpg.UniqueViolationError, OverflowError):
        # Some rows are there; or a number is too large, which this refuses as it does all values.
        await connection.execute(statement("write_minutes"), *_minute_columns(minutes))


def batches(due: Sequence[DueSession], rows: int) -> Iterator[list[DueSession]]:
    """Parts of about `rows` rows, each with whole sessions: their own rows and their minutes'."""
    batch: list[DueSession] = []
    size = 0
    for session in due:
        weight = 1 + len(session.minutes)
        if batch and size + weight > rows:
            yield batch
            batch, size = [], 0
        batch.append(session)
        size += weight
    if batch:
        yield batch


class Writer:
    """Writes batches, whatever is in them. Raises `StorageUnavailable` when Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self) -> None:
        """Return when Postgres answers and has the schema."""
        async with self._database.connection() as connection:
            await check_version(connection)

    async def write(self, due: Sequence[DueSession]) -> Outcome:
        """Commit the batch; where rows are refused, all but their sessions."""
        try:
            rows = await self._commit(due)
        except RowsRefused as error:
            if len(due) == 1:
                return Outcome(refusals=(Refusal(due[0].state.key, str(error)),))
            middle = len(due) // 2
            return await self.write(due[:middle]) + await self.write(due[middle:])
        return Outcome(tuple(_settlement(session) for session in due), rows=rows)

    async def make_partitions_ahead(self) -> int:
        """Make the partitions of this month and the next ones; how many were missing."""
        return await self._make_partitions(time.time(), 1 + AHEAD_MONTHS)

    async def _commit(self, due: Sequence[DueSession]) -> int:
        try:
            return await self._commit_despite_conflicts(due)
        except PartitionMissing:
            for start in _months(due):
                await self._make_partitions(start, 1)
            return await self._commit_despite_conflicts(due)

    async def _commit_despite_conflicts(self, due: Sequence[DueSession]) -> int:
        for tried in count(1):
            try:
                async with self._database.connection() as connection:
                    return await write(connection, due)
            except TransactionConflict:
                if tried == CONFLICT_TRIES:
                    raise
                await asyncio.sleep(random.uniform(0, 0.02 * 2**tried))
        raise AssertionError("unreachable")

    async def _make_partitions(self, start: float, months: int) -> int:
        async with self._database.connection() as connection:
            made: int = await connection.fetchval(
                statement("ensure_partitions"), datetime.fromtimestamp(start, UTC), months
            )
        return made


def _settlement(session: DueSession) -> Settlement:
    return Settlement(session.state.key, session.state.revision, session.minutes)


def _months(due: Sequence[DueSession]) -> list[int]:
    """Where the months start that the minutes fall in, leaving out impossible ones."""
    latest = time.time() + AHEAD_SECONDS
    seconds = {minute.minute * 60 for session in due for minute in session.minutes}
    return sorted({month_of(second).start for second in seconds if 0 <= second <= latest})


def _session_columns(states: Sequence[tuple[SessionState, str]]) -> list[list[object]]:
    """The parameters of `write_sessions`."""
    rows = [
        (
            state.key.session_id,
            state.key.organization_id,
            state.user_id,
            state.kind,
            metadata,
            state.origin,
            state.ended_at,
            state.end_reason,
            state.revision,
        )
        for state, metadata in states
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _minute_records(minutes: Sequence[tuple[SessionState, Minute]]) -> list[tuple[object, ...]]:
    """The rows of a COPY, in the order of `MINUTE_COLUMNS`."""
    starts = {number: _start(number) for number in {minute.minute for _, minute in minutes}}
    return [
        (
            state.key.session_id,
            state.key.organization_id,
            state.user_id,
            starts[minute.minute],
            minute.mask,
        )
        for state, minute in minutes
    ]


def _start(minute: int) -> datetime:
    try:
        return datetime.fromtimestamp(minute * 60, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RowsRefused(f"minute {minute} is no time: {error}") from error


def _minute_columns(minutes: Sequence[tuple[SessionState, Minute]]) -> list[list[object]]:
    """The parameters of `write_minutes`."""
    states = [state for state, _ in minutes]
    return [
        [state.key.session_id for state in states],
        [state.key.organization_id for state in states],
        [state.user_id for state in states],
        [minute.minute for _, minute in minutes],
        [minute.mask for _, minute in minutes],
    ]
