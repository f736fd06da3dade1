"""System A: minutes of live recordings, and what may still be recorded."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.billing import remaining_minutes, used_minutes
from meter.ledger.types import UNLIMITED, Standing
from meter.periods import Period
from meter.terms import Terms
from meter.usage import is_exhausted, usage_of
from tests.persistence.builders import until_somebody_waits
from tests.sql.accounts import (
    adjust,
    check,
    limit_member,
    limit_organization,
    noon,
    record,
    row_of,
    subscribe,
)

pytestmark = pytest.mark.integration


async def details(db: asyncpg.Connection, *arguments: object) -> Any:
    places = ", ".join(f"${place}" for place in range(1, len(arguments) + 1))
    return json.loads(await db.fetchval(f"SELECT get_usage_details({places})", *arguments))


async def test_table_usage_tracking_takes_a_minute_of_a_session_once(
    db: asyncpg.Connection,
) -> None:
    session = await record(db, "acme", "ann", 90)
    rows = await db.fetch("SELECT * FROM usage_tracking ORDER BY minute_timestamp")
    assert [row["seconds_recorded"] for row in rows] == [60, 30]
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute(
            "INSERT INTO usage_tracking"
            " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
            " VALUES ($1, 'acme', 'ann', $2, 1)",
            session,
            rows[0]["minute_timestamp"],
        )


async def test_two_writers_of_a_users_minutes_at_once_are_both_counted(
    db: asyncpg.Connection, sql_url: str
) -> None:
    other = await asyncpg.connect(sql_url)
    for seconds in (121, 242):  # the second time the rows are there
        async with db.transaction():
            await record(db, "acme", "ann", 90)
            waiting = asyncio.create_task(record(other, "acme", "ann", 31))
            await until_somebody_waits(db)
        await waiting
        assert await db.fetchval("SELECT seconds_used FROM monthly_usage_cache") == seconds
        assert await db.fetchval("SELECT seconds_used FROM daily_usage") == seconds
    await other.close()


async def test_a_minute_stays_with_its_account(db: asyncpg.Connection) -> None:
    await record(db, "acme", "ann", 60)
    for column in ("organization_id", "user_id"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="another account"):
            await db.execute(f"UPDATE usage_tracking SET {column} = 'bob'")


async def test_table_monthly_usage_cache_is_kept_by_triggers(db: asyncpg.Connection) -> None:
    session = await record(db, "acme", "ann", 90)
    await record(db, "acme", "ann", 31)
    row = await row_of(db, "SELECT seconds_used, minutes_used FROM monthly_usage_cache")
    assert tuple(row) == (121, 3)
    await db.execute("DELETE FROM usage_tracking WHERE session_id = $1", session)
    assert await db.fetchval("SELECT seconds_used FROM monthly_usage_cache") == 31


async def test_function_update_member_usage_keeps_the_members_figures(
    db: asyncpg.Connection,
) -> None:
    await limit_member_of_new_organization(db)
    await record(db, "acme", "ann", 90)
    row = await row_of(db, "SELECT * FROM organization_members")
    assert row["current_month_minutes_used"] == 2
    assert row["current_month_start"] == datetime.now(UTC).date().replace(day=1)


async def limit_member_of_new_organization(db: asyncpg.Connection) -> None:
    await db.execute("INSERT INTO organizations (id) VALUES ('acme')")
    await limit_member(db, "acme", "ann", None)


async def test_function_check_usage_limit_says_whether_a_member_may_record_on(
    db: asyncpg.Connection,
) -> None:
    await limit_organization(db, "acme", 10)
    await record(db, "acme", "ann", 3601)
    found = await check(db, "ann", "acme")
    assert {name: found[name] for name in list(found)[:5]} == {
        "can_record": True,
        "minutes_used": 61,
        "minutes_limit": 600,
        "minutes_remaining": 539,
        "percentage_used": Decimal("10.0"),
    }
    assert (found["used_seconds"], found["remaining_seconds"]) == (3601, 32399)


async def test_limits_in_hours_are_minutes_and_the_most_restrictive_one_holds(
    db: asyncpg.Connection,
) -> None:
    await limit_organization(db, "acme", 10)
    await limit_member(db, "acme", "ann", 0.5)
    await record(db, "acme", "bob", 600)
    found = await check(db, "ann", "acme")
    assert (found["scope"], found["minutes_limit"], found["minutes_used"]) == ("member", 30, 0)
    assert (await check(db, "bob", "acme"))["minutes_limit"] == 600
    await record(db, "acme", "ann", 1800)
    found = await check(db, "ann", "acme")
    assert (found["can_record"], found["percentage_used"]) == (False, 100)
    await limit_organization(db, "acme", 0.65)
    found = await check(db, "bob", "acme")
    assert (found["scope"], found["can_record"], found["remaining_seconds"]) == (
        "organization",
        False,
        0,
    )


async def test_without_a_limit_everybody_may_record(db: asyncpg.Connection) -> None:
    await record(db, "acme", "ann", 61)
    found = await check(db, "ann", "acme")
    assert (found["can_record"], found["unlimited"], found["minutes_used"]) == (True, True, 2)
    figures = ("minutes_limit", "minutes_remaining", "percentage_used", "limit_seconds")
    assert {found[name] for name in figures} == {None}


async def test_a_user_who_is_not_known_yet_has_the_default_plan(db: asyncpg.Connection) -> None:
    assert (await check(db, "ann", "ann"))["minutes_limit"] == 300
    assert await db.fetchval("SELECT count(*) FROM users") == 0
    await db.execute("SELECT ensure_user_exists('ann')")
    assert (await check(db, "ann", "ann"))["minutes_limit"] == 300
    assert (await check(db, "ann", "acme"))["unlimited"]


async def test_adjustments_are_in_used_and_remaining_at_once(db: asyncpg.Connection) -> None:
    await limit_organization(db, "acme", 1)
    await limit_member(db, "acme", "ann", 0.5)
    await record(db, "acme", "ann", 600)
    await adjust(db, "acme", -300, "ann")
    assert (await check(db, "ann", "acme"))["used_seconds"] == 300
    await adjust(db, "acme", 3000)
    found = await check(db, "ann", "acme")
    assert (found["scope"], found["used_seconds"], found["remaining_seconds"]) == (
        "organization",
        3300,
        300,
    )
    await adjust(db, "acme", -7200)
    found = await check(db, "bob", "acme")
    assert (found["used_seconds"], found["remaining_seconds"]) == (-3900, 7500)


seconds = st.integers(0, 20).map(lambda minutes: minutes * 60)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.none() | seconds,
    member_limit=st.none() | seconds,
    others=seconds,
    own=seconds,
    soft=st.booleans(),
    ceiling=st.none() | seconds,
    grace=st.booleans(),
)
async def test_the_figures_are_those_that_live_sessions_are_told(
    db: asyncpg.Connection,
    limit: int | None,
    member_limit: int | None,
    others: int,
    own: int,
    soft: bool,
    ceiling: int | None,
    grace: bool,
) -> None:
    attempt = db.transaction()
    await attempt.start()
    try:
        await db.execute(
            "UPDATE plans SET soft_cap = $1, overage_ceiling_seconds = $2, grace_is_overage = $3,"
            " grace_seconds = 60",
            soft,
            ceiling,
            grace,
        )
        await subscribe(db, "acme", "starter")
        await limit_organization(db, "acme", -1 if limit is None else limit / 3600)
        await limit_member(db, "acme", "ann", None if member_limit is None else member_limit / 3600)
        await adjust(db, "acme", others + 1)
        await adjust(db, "acme", own + 1, "ann")
        found = await check(db, "ann", "acme")
    finally:
        await attempt.rollback()
    overage = 0 if not soft else UNLIMITED if ceiling is None else ceiling
    standing = Standing(
        period=Period(0, 1),
        used=others + own + 2,
        limit=UNLIMITED if limit is None else limit,
        member_used=own + 1,
        member_limit=UNLIMITED if member_limit is None else member_limit,
        terms=Terms(overage_seconds=overage, grace_seconds=60, grace_is_overage=grace),
    )
    usage = usage_of(standing)
    assert found["can_record"] == (not is_exhausted(standing))
    assert found["scope"] == usage.scope
    assert found["used_seconds"] == usage.used_seconds
    assert found["minutes_used"] == used_minutes(usage.used_seconds)
    assert found["limit_seconds"] == usage.limit_seconds
    assert found["remaining_seconds"] == usage.remaining_seconds
    assert found["overage_seconds"] == usage.overage_seconds
    if usage.remaining_seconds is not None:
        assert found["minutes_remaining"] == remaining_minutes(usage.remaining_seconds)


async def test_function_get_usage_details_has_the_periods_sessions_and_days(
    db: asyncpg.Connection,
) -> None:
    first = await record(db, "acme", "ann", 90, noon())
    second = await record(db, "acme", "ann", 30, noon() + timedelta(days=1))
    await record(db, "acme", "bob", 600, noon())
    await record(db, "other", "ann", 600, noon())
    await adjust(db, "acme", 60, "ann")
    found = await details(db, "ann", "acme")
    day = noon().date()
    assert (found["seconds"], found["minutes"], found["adjusted_seconds"]) == (120, 2, 60)
    assert found["days"] == [
        {"day": f"{day}", "seconds": 90, "minutes": 2},
        {"day": f"{day + timedelta(days=1)}", "seconds": 30, "minutes": 1},
    ]
    assert [(each["session_id"], each["seconds"]) for each in found["sessions"]] == [
        (second, 30),
        (first, 90),
    ]
    assert found["first_day"] == f"{day.replace(day=1)}"
    assert (await details(db, None, "acme"))["seconds"] == 720


async def test_details_of_single_days_have_the_part_of_a_session_that_is_in_them(
    db: asyncpg.Connection,
) -> None:
    midnight = noon().replace(hour=0)
    session = await record(db, "acme", "ann", 300, midnight - timedelta(minutes=2))
    day = midnight.date()
    found = await details(db, "ann", "acme", day, day)
    assert (found["seconds"], found["days"]) == (
        180,
        [{"day": f"{day}", "seconds": 180, "minutes": 3}],
    )
    assert [(each["session_id"], each["seconds"]) for each in found["sessions"]] == [(session, 180)]


async def test_details_list_sessions_page_by_page(db: asyncpg.Connection) -> None:
    made = [
        await record(db, "acme", "ann", 1, noon() + timedelta(minutes=number // 2))
        for number in range(5)
    ]
    seen: list[str] = []
    before: tuple[datetime | None, str | None] = (None, None)
    while True:
        page = (await details(db, "ann", "acme", None, None, 2, *before))["sessions"]
        if not page:
            break
        seen += [each["session_id"] for each in page]
        last = page[-1]
        before = (datetime.fromtimestamp(last["started_at"], UTC), last["session_id"])
    assert sorted(seen) == sorted(made)
    assert len(seen) == 5


async def test_days_and_periods_are_those_of_the_accounts_time_zone(
    db: asyncpg.Connection,
) -> None:
    await db.execute(
        "INSERT INTO organizations (id, time_zone) VALUES ('acme', 'Pacific/Auckland')"
    )
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    await record(db, "acme", "ann", 60, now)
    found = await details(db, "ann", "acme")
    assert found["time_zone"] == "Pacific/Auckland"
    assert found["days"][0]["day"] == f"{now.astimezone(ZoneInfo('Pacific/Auckland')).date()}"
    assert (await check(db, "ann", "acme"))["used_seconds"] == 60
