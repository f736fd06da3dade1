"""Short ways to say what is due, and to read what was written."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg

from meter.ledger.types import DueSession, Minute, SessionKey, SessionState

FULL = (1 << 60) - 1


def present_minute() -> int:
    """A minute in the present month: partitions for it are there."""
    return int(datetime.now(UTC).replace(day=15, hour=12, minute=0, second=0).timestamp()) // 60


# One of the month in which the run began, for where it need not be the present one still.
THIS_MINUTE = present_minute()
NOW = THIS_MINUTE * 60

Stored = dict[tuple[str, int], int]


def session_id() -> str:
    """A new session's id."""
    return str(uuid.uuid4())


def due(
    *minutes: tuple[int, int],
    session: str | None = None,
    organization: str = "org_1",
    user: str = "user_1",
    row: bool = True,
    metadata: str = "",
    **state: object,
) -> DueSession:
    """A session with due minutes, each (minute, mask)."""
    made = SessionState(
        key=SessionKey(organization, session or session_id()),
        user_id=user,
        kind="recording",
        origin=NOW,
        revision=1,
    )
    return DueSession(
        state=replace(made, **state),  # type: ignore[arg-type]
        row_due=row,
        metadata=metadata,
        minutes=tuple(Minute(minute, mask) for minute, mask in minutes),
    )


async def stored_minutes(connection: asyncpg.Connection) -> Stored:
    """All masks in `usage_tracking`, by session and minute."""
    rows = await connection.fetch(
        "SELECT session_id, extract(epoch FROM minute_timestamp)::bigint / 60 AS minute,"
        " seconds_mask FROM usage_tracking"
    )
    return {(str(row["session_id"]), row["minute"]): row["seconds_mask"] for row in rows}


async def stored_session(connection: asyncpg.Connection, session: str) -> asyncpg.Record:
    """The row of a session."""
    row = await connection.fetchrow(
        "SELECT * FROM interview_sessions WHERE session_id = $1", session
    )
    assert row is not None
    return row


async def assert_figures_follow_rows(connection: asyncpg.Connection) -> None:
    """Every kept figure equals its computation from the rows."""
    kept = await connection.fetch(
        "SELECT organization_id, user_id, month, seconds_used, minutes_used"
        " FROM monthly_usage_cache WHERE seconds_used > 0"
    )
    computed = await connection.fetch(
        "SELECT organization_id, user_id,"
        " date_trunc('month', minute_timestamp AT TIME ZONE 'UTC')::date,"
        " sum(bit_count(seconds_mask::bit(64)))::bigint,"
        " ceil(sum(bit_count(seconds_mask::bit(64))) / 60.0)::bigint"
        " FROM usage_tracking GROUP BY 1, 2, 3"
    )
    assert sorted(map(tuple, kept)) == sorted(map(tuple, computed))
    kept = await connection.fetch(
        "SELECT session_id, seconds_recorded, duration_minutes FROM interview_sessions"
        " WHERE seconds_recorded > 0"
    )
    computed = await connection.fetch(
        "SELECT session_id, sum(bit_count(seconds_mask::bit(64)))::bigint,"
        " ceil(sum(bit_count(seconds_mask::bit(64))) / 60.0)::bigint"
        " FROM usage_tracking GROUP BY 1"
    )
    assert sorted(map(tuple, kept)) == sorted(map(tuple, computed))


async def until_somebody_waits(connection: asyncpg.Connection) -> None:
    """Return when somebody waits for a lock."""
    # Not from pg_stat_activity, which stays the same within a transaction.
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(30):
        while not await connection.fetchval(waiting):  # noqa: ASYNC110  # by another process
            await asyncio.sleep(0.01)
