"""The triggers' figures always equal what the rows say, whatever happens to the rows."""

import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persistence.writer import write
from tests.persistence.builders import FULL, NOW, THIS_MINUTE, assert_figures_follow_rows, due

pytestmark = pytest.mark.integration

SESSIONS = tuple(str(uuid.UUID(int=number)) for number in range(1, 6))
# Each session has one account; several share an organization, or a user over organizations.
ACCOUNTS = (
    ("org_1", "user_1"),
    ("org_1", "user_2"),
    ("org_2", "user_1"),
    ("org_1", "user_1"),
    ("user_3", "user_3"),
)
# In this month and the next, which is the last one that is made ahead for sure.
MINUTES = (THIS_MINUTE, THIS_MINUTE + 1, THIS_MINUTE + 31 * 24 * 60)

session = st.integers(0, len(SESSIONS) - 1)
minute = st.sampled_from(MINUTES)
mask = st.integers(1, FULL) | st.sampled_from([1, FULL])
row = st.tuples(session, minute, mask, st.booleans())

writes = st.tuples(st.just("write"), st.lists(row, min_size=1, max_size=8))
inserts = st.tuples(st.just("insert"), st.tuples(session, minute, mask))
updates = st.tuples(st.just("update"), st.tuples(minute, mask))
moves = st.tuples(st.just("move"), st.tuples(minute, minute))
deletes = st.tuples(st.just("delete"), st.tuples(session, minute))
forgets = st.tuples(st.just("forget"), session)
clears = st.tuples(st.just("clear"), st.none())
history = st.lists(
    writes | writes | inserts | updates | moves | deletes | forgets | clears,
    min_size=1,
    max_size=12,
)


async def _write(connection: asyncpg.Connection, rows: list[tuple[int, int, int, bool]]) -> None:
    merged: dict[int, dict[int, int]] = {}
    for number, at, bits, _ in rows:
        masks = merged.setdefault(number, {})
        masks[at] = masks.get(at, 0) | bits
    flags = {number: flag for number, _, _, flag in rows}
    batch = [
        due(
            *masks.items(),
            session=SESSIONS[number],
            organization=ACCOUNTS[number][0],
            user=ACCOUNTS[number][1],
            row=flags[number],
        )
        for number, masks in merged.items()
    ]
    await write(connection, batch)


async def _insert(connection: asyncpg.Connection, row: tuple[int, int, int]) -> None:
    number, at, bits = row
    await connection.execute(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " VALUES ($1, $2, $3, to_timestamp($4), $5) ON CONFLICT DO NOTHING",
        SESSIONS[number],
        *ACCOUNTS[number],
        at * 60,
        bits,
    )


async def _update(connection: asyncpg.Connection, change: tuple[int, int]) -> None:
    await connection.execute(
        "UPDATE usage_tracking SET seconds_mask = $2 WHERE minute_timestamp = to_timestamp($1)",
        change[0] * 60,
        change[1],
    )


async def _move(connection: asyncpg.Connection, change: tuple[int, int]) -> None:
    await connection.execute(
        "UPDATE usage_tracking AS moved SET minute_timestamp = to_timestamp($2)"
        " WHERE minute_timestamp = to_timestamp($1) AND NOT EXISTS (SELECT FROM usage_tracking"
        " WHERE session_id = moved.session_id AND minute_timestamp = to_timestamp($2))",
        change[0] * 60,
        change[1] * 60,
    )


async def _delete(connection: asyncpg.Connection, place: tuple[int, int]) -> None:
    await connection.execute(
        "DELETE FROM usage_tracking WHERE session_id = $1 OR minute_timestamp = to_timestamp($2)",
        SESSIONS[place[0]],
        place[1] * 60,
    )


async def _forget(connection: asyncpg.Connection, number: int) -> None:
    """A session goes with its minutes."""
    async with connection.transaction():
        await connection.execute(
            "DELETE FROM usage_tracking WHERE session_id = $1", SESSIONS[number]
        )
        await connection.execute(
            "DELETE FROM interview_sessions WHERE session_id = $1", SESSIONS[number]
        )


async def _clear(connection: asyncpg.Connection, _: None) -> None:
    await connection.execute("TRUNCATE usage_tracking")


ACTIONS = {
    "write": _write,
    "insert": _insert,
    "update": _update,
    "move": _move,
    "delete": _delete,
    "forget": _forget,
    "clear": _clear,
}


@settings(
    max_examples=60,
    deadline=None,
    # The database stays; each example begins with empty tables.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=history)
async def test_figures_equal_a_recomputation_after_every_step(
    connection: asyncpg.Connection, steps: list[tuple[str, object]]
) -> None:
    await connection.execute("TRUNCATE usage_tracking")
    await connection.execute("DELETE FROM interview_sessions")
    for name, argument in steps:
        await ACTIONS[name](connection, argument)  # type: ignore[operator]
        await assert_figures_follow_rows(connection)


async def test_a_session_cannot_go_before_its_minutes(connection: asyncpg.Connection) -> None:
    await write(connection, [due((THIS_MINUTE, 1))])
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="still has minutes"):
        await connection.execute("DELETE FROM interview_sessions")


async def test_only_whole_minutes_are_taken(connection: asyncpg.Connection) -> None:
    session = await connection.fetchval("SELECT gen_random_uuid()")
    for seconds, microseconds in ((1, 0), (0, 1)):
        with pytest.raises(asyncpg.CheckViolationError, match="usage_tracking_whole_minute"):
            await connection.execute(
                "INSERT INTO usage_tracking"
                " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
                " VALUES ($1, 'org', 'user', $2, 1)",
                session,
                datetime.fromtimestamp(NOW, UTC)
                + timedelta(seconds=seconds, microseconds=microseconds),
            )
