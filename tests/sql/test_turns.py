"""Calls that use something up, at once and in transactions that see the past."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Literal

import asyncpg
import pytest

from tests.sql.accounts import subscribe, track

pytestmark = pytest.mark.integration

ANALYSES = "detailed_analysis_per_month"
CALLS = 20

Isolation = Literal["read_committed", "repeatable_read", "serializable"]

TRACK = "SELECT track_usage($1, 'detailed_analysis_per_month', 1, NULL, 'acme')"
MINUTES = "SELECT track_usage($1, 'minutes_per_month', 1, NULL, 'acme')"
CHAT = (
    "INSERT INTO chat_instances (profile_id) SELECT id FROM users WHERE clerk_id = $1"
    " RETURNING true"
)


@pytest.fixture
async def pool(sql_url: str) -> AsyncIterator[asyncpg.Pool]:
    """As many connections as there are calls."""
    async with asyncpg.create_pool(sql_url, min_size=CALLS, max_size=CALLS) as pool:
        yield pool


async def allow(db: asyncpg.Connection, usage_type: str, amount: int) -> None:
    """Users of one organization, whose plan has so much left of a type."""
    await subscribe(db, "acme", "starter")
    await db.execute(
        "UPDATE plan_limits SET limit_value = $1 WHERE usage_type = $2", amount, usage_type
    )
    for number in range(CALLS):
        await db.execute("SELECT ensure_user_exists($1)", f"user {number}")
    await db.execute("UPDATE profiles SET organization_id = 'acme'")


async def call(pool: asyncpg.Pool, sql: str, user: str, isolation: Isolation) -> tuple[bool, int]:
    """Whether there was room, and how many serialization failures there were before."""
    failures = 0
    while True:
        try:
            async with pool.acquire() as db, db.transaction(isolation=isolation):
                return bool(await db.fetchval(sql, user)), failures
        except asyncpg.SerializationError:
            failures += 1
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "usage_limit":
                raise
            return False, failures


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable", "read_committed"])
@pytest.mark.parametrize(
    ("sql", "usage_type", "counted"),
    [
        (TRACK, ANALYSES, "SELECT sum(amount) FROM feature_events"),
        (CHAT, "chat_instances", "SELECT count(*) FROM chat_instances"),
        (MINUTES, "minutes_per_month", "SELECT sum(seconds_recorded) / 60 FROM usage_tracking"),
    ],
)
async def test_calls_at_once_of_different_users_take_what_is_left_at_each_isolation(
    db: asyncpg.Connection,
    pool: asyncpg.Pool,
    sql: str,
    usage_type: str,
    counted: str,
    isolation: Isolation,
) -> None:
    await allow(db, usage_type, 10)
    answers = await asyncio.gather(
        *(call(pool, sql, f"user {number}", isolation) for number in range(CALLS))
    )
    assert [allowed for allowed, _ in answers].count(True) == 10
    assert await db.fetchval(counted) == 10
    if isolation == "read_committed":
        assert sum(failures for _, failures in answers) == 0


async def test_a_key_is_one_call_also_for_who_sees_the_past(
    db: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    await allow(db, ANALYSES, 10)
    sql = "SELECT track_usage($1, 'detailed_analysis_per_month', 1, 'key', 'acme')"
    answers = await asyncio.gather(
        *(call(pool, sql, "ann", "repeatable_read") for _ in range(CALLS))
    )
    assert {allowed for allowed, _ in answers} == {True}
    assert await db.fetchval("SELECT sum(amount) FROM feature_events") == 1


async def test_a_snapshot_from_before_anothers_call_is_a_serialization_failure(
    db: asyncpg.Connection, sql_url: str
) -> None:
    await allow(db, ANALYSES, 10)
    other = await asyncpg.connect(sql_url)
    for organization in ("acme", "another"):
        seeing = other.transaction(isolation="repeatable_read")
        await seeing.start()
        await other.execute("SELECT FROM plans")
        await track(db, "user 0", {ANALYSES: 1}, organization="acme")
        with pytest.raises(asyncpg.SerializationError) if organization == "acme" else nullcontext():
            await track(other, "user 1", {ANALYSES: 1}, organization=organization)
        await seeing.rollback()
    await other.close()


async def test_a_turn_is_written_once_a_transaction(db: asyncpg.Connection) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    await db.execute(
        "INSERT INTO chat_instances (profile_id) SELECT id FROM users, generate_series(1, 100)"
    )
    # Later versions than the first would be at other places of the page.
    assert await db.fetchval("SELECT array_agg(ctid::text) FROM usage_turns") == ["(0,1)"]
    for _ in range(3):
        await track(db, "ann", {ANALYSES: 1})
    assert await db.fetchval("SELECT array_agg(organization_id) FROM usage_turns") == ["ann"]


async def test_function_meter_track_is_track_usages_by_another_name(
    db: asyncpg.Connection,
) -> None:
    asked = f'[{{"usage_type": "{ANALYSES}", "amount": 2}}, {{"usage_type": "minutes_per_month"}}]'
    first = await db.fetchval("SELECT meter.track('ann', $1, 'key')", asked)
    assert first == await db.fetchval("SELECT track_usages('ann', $1, 'key')", asked)
    named = await db.fetchval(
        "SELECT meter.track(clerk_id => 'ann', usages => $1, organization_id => 'acme',"
        " session_kind => 'interview') -> 'allowed'",
        asked,
    )
    assert named == "true"
    rows = await db.fetch("SELECT organization_id, kind FROM interview_sessions ORDER BY 1")
    assert [tuple(row) for row in rows] == [("acme", "interview"), ("ann", "tracked")]


async def test_function_meter_track_may_be_called_by_whoever_may_call_the_others(
    db: asyncpg.Connection,
) -> None:
    """Each role, as the other functions are; what they may touch is asked within."""
    asked = (
        "SELECT has_schema_privilege('pg_monitor', 'meter', 'USAGE'),"
        " has_function_privilege('pg_monitor', oid, 'EXECUTE') FROM pg_proc WHERE proname = $1"
    )
    for name in ("track", "track_usages"):
        assert [tuple(row) for row in await db.fetch(asked, name)] == [(True, True)]
