"""System E: statistics by month and over a lifetime, always what the rows say."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sql.accounts import FULL, noon, record, row_of, subscribe, track

pytestmark = pytest.mark.integration

ANALYSES = "detailed_analysis_per_month"
KATHMANDU = "Asia/Kathmandu"
# Each session has one account.
SESSIONS = {
    str(uuid.UUID(int=number)): account
    for number, account in enumerate(
        (("ann", "ann"), ("acme", "ann"), ("acme", "ann"), ("acme", "bob"), ("bob", "bob")), 1
    )
}


def this_day() -> datetime:
    """The start of this day, UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


# From three months before on, some around the ends of days and months in both zones.
DAYS = st.integers(-80, 0).map(lambda days: this_day() + timedelta(days=days))
OFFSETS = st.sampled_from([0, 1, 600, 1094, 1095, 1439]).map(
    lambda minute: timedelta(minutes=minute)
)
minutes = st.builds(lambda day, offset: day + offset, DAYS, OFFSETS)
masks = st.integers(1, FULL) | st.sampled_from([1, FULL])
session = st.sampled_from(list(SESSIONS))
steps = st.lists(
    st.tuples(
        st.just("write"), st.lists(st.tuples(session, minutes, masks), min_size=1, max_size=9)
    )
    | st.tuples(st.just("end"), st.tuples(session, st.sampled_from(["stopped", "lost"])))
    | st.tuples(st.just("delete"), st.tuples(session, minutes))
    | st.tuples(st.just("forget"), session)
    | st.tuples(st.just("use"), st.tuples(session, minutes, st.integers(1, 5)))
    | st.tuples(st.just("clear"), st.none()),
    min_size=1,
    max_size=10,
)


async def lifetime(db: asyncpg.Connection, user: str) -> asyncpg.Record:
    return await row_of(db, "SELECT * FROM user_lifetime_stats WHERE user_id = $1", user)


async def make_partitions(db: asyncpg.Connection, months: int) -> None:
    await db.execute(
        "SELECT ensure_usage_partitions(now() - make_interval(months => $1), $1)", months
    )


async def take(db: asyncpg.Connection, step: str, given: Any) -> None:
    """One thing that happens to the rows."""
    match step, given:
        case "write", rows:
            merged: dict[tuple[str, datetime], int] = {}
            for key, minute, mask in rows:
                merged[key, minute] = merged.get((key, minute), 0) | mask
            await db.executemany(
                "INSERT INTO usage_tracking AS kept"
                " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
                " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (session_id, minute_timestamp)"
                " DO UPDATE SET seconds_mask = kept.seconds_mask | excluded.seconds_mask",
                [(key, *SESSIONS[key], minute, mask) for (key, minute), mask in merged.items()],
            )
        case "end", (key, reason):
            await db.execute(
                "UPDATE interview_sessions SET end_reason = $2,"
                " ended_at = started_at + interval '1 hour', revision = revision + 1"
                " WHERE session_id = $1",
                key,
                reason,
            )
        case "delete", (key, minute):
            await db.execute(
                "DELETE FROM usage_tracking WHERE session_id = $1 OR minute_timestamp = $2",
                key,
                minute,
            )
        case "forget", key:
            await db.execute("DELETE FROM usage_tracking WHERE session_id = $1", key)
            await db.execute("DELETE FROM interview_sessions WHERE session_id = $1", key)
        case "use", (key, minute, amount):
            await db.execute(
                "INSERT INTO feature_events"
                " (organization_id, user_id, usage_type, amount, used_at)"
                " VALUES ($1, $2, $3, $4, $5)",
                *SESSIONS[key],
                ANALYSES,
                amount,
                minute,
            )
        case "clear", _:
            await db.execute("TRUNCATE usage_tracking")


def zone_of(organization: str) -> ZoneInfo:
    return ZoneInfo(KATHMANDU if organization == "acme" else "UTC")


async def expected_lifetime(db: asyncpg.Connection, user: str) -> dict[str, Any]:
    """From the rows themselves, in another way."""
    rows = await db.fetch("SELECT * FROM usage_tracking WHERE user_id = $1", user)
    sessions = [
        each
        for each in await db.fetch("SELECT * FROM interview_sessions WHERE user_id = $1", user)
        if any(row["session_id"] == each["session_id"] for row in rows)
    ]
    days = sorted(
        {row["minute_timestamp"].astimezone(zone_of(row["organization_id"])).date() for row in rows}
    )
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    started = [each["started_at"] for each in sessions]
    span = (
        (max(started).year - min(started).year) * 12 + max(started).month - min(started).month + 1
        if started
        else 1
    )
    events = await db.fetch("SELECT amount, used_at FROM feature_events WHERE user_id = $1", user)
    used = [row["used_at"] for row in events]
    seconds = [
        (row["minute_timestamp"] + timedelta(seconds=first), row["minute_timestamp"], last)
        for row in rows
        for mask in [row["seconds_mask"]]
        for first, last in [((mask & -mask).bit_length() - 1, mask.bit_length())]
    ]
    return {
        "total_sessions": len(sessions),
        "total_seconds": sum(row["seconds_mask"].bit_count() for row in rows),
        "features_used": sum(row["amount"] for row in events),
        "days_active": len(days),
        "longest_streak": max((len(run) for run in runs), default=0),
        "average_sessions_per_month": (Decimal(len(sessions)) / span).quantize(
            Decimal("0.1"), ROUND_HALF_UP
        ),
        "first_activity": min([each[0] for each in seconds] + used, default=None),
        "last_activity": max(
            [minute + timedelta(seconds=last) for _, minute, last in seconds] + used, default=None
        ),
    }


async def expected_months(db: asyncpg.Connection, user: str) -> dict[tuple[str, date], int]:
    """Seconds by account and month."""
    seconds: dict[tuple[str, date], int] = {}
    for row in await db.fetch("SELECT * FROM usage_tracking WHERE user_id = $1", user):
        organization = row["organization_id"]
        day = row["minute_timestamp"].astimezone(zone_of(organization)).date()
        key = organization, day.replace(day=1)
        seconds[key] = seconds.get(key, 0) + row["seconds_mask"].bit_count()
    return seconds


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
async def test_table_user_lifetime_stats_equals_a_recomputation_from_the_rows(
    db: asyncpg.Connection, steps: list[tuple[str, Any]]
) -> None:
    await db.execute("TRUNCATE usage_tracking, interview_sessions, feature_events")
    await make_partitions(db, 4)
    await db.execute(
        "INSERT INTO organizations (id, time_zone) VALUES ('acme', $1) ON CONFLICT DO NOTHING",
        KATHMANDU,
    )
    for user in ("ann", "bob"):
        await db.execute("SELECT ensure_user_exists($1)", user)
    for step, given_ in steps:
        await take(db, step, given_)
    for user in ("ann", "bob"):
        found = await lifetime(db, user)
        expected = await expected_lifetime(db, user)
        assert {name: found[name] for name in expected} == expected
        months = await db.fetch(
            "SELECT organization_id, month, seconds_used FROM user_monthly_stats"
            " WHERE user_id = $1 AND seconds_used > 0",
            user,
        )
        assert found["last_activity"] == await db.fetchval(
            "SELECT max(last_activity) FROM user_monthly_stats WHERE user_id = $1", user
        )
        assert {
            (row["organization_id"], row["month"]): row["seconds_used"] for row in months
        } == await expected_months(db, user)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
async def test_kept_days_equal_those_that_are_made_anew(
    db: asyncpg.Connection, steps: list[tuple[str, Any]]
) -> None:
    await db.execute("TRUNCATE usage_tracking, interview_sessions, feature_events")
    await make_partitions(db, 4)
    await db.execute(
        "INSERT INTO organizations (id, time_zone) VALUES ('acme', $1) ON CONFLICT DO NOTHING",
        KATHMANDU,
    )
    for step, given_ in steps:
        await take(db, step, given_)
    days = "SELECT * FROM daily_usage WHERE seconds_used > 0 ORDER BY 1, 2, 3, 4"
    kept = await db.fetch(days)
    for organization in ("ann", "bob", "acme"):
        await db.execute("SELECT rebuild_daily_usage($1)", organization)
    assert await db.fetch(days) == kept


async def test_a_streak_goes_on_until_a_whole_day_has_passed(db: asyncpg.Connection) -> None:
    await make_partitions(db, 3)
    for days in (1, 2, 3, 10, 11, 12, 13, 14):
        await record(db, "ann", "ann", 1, this_day() - timedelta(days=days))
    found = await lifetime(db, "ann")
    assert (found["current_streak"], found["longest_streak"], found["days_active"]) == (3, 5, 8)
    await db.execute(
        "DELETE FROM usage_tracking WHERE minute_timestamp >= $1", this_day() - timedelta(days=1)
    )
    assert (await lifetime(db, "ann"))["current_streak"] == 0


async def test_per_user_and_month_there_are_sessions_features_tier_and_last_activity(
    db: asyncpg.Connection,
) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    await record(db, "ann", "ann", 60)
    await record(db, "ann", "ann", 181)
    lost = await record(db, "ann", "ann", 600)
    await db.execute(
        "UPDATE interview_sessions SET end_reason = 'lost' WHERE session_id = $1", lost
    )
    await track(db, "ann", {ANALYSES: 2})
    await subscribe(db, "ann", "premium")
    await track(db, "ann", {ANALYSES: 3})
    row = await row_of(db, "SELECT * FROM user_monthly_stats WHERE user_id = 'ann'")
    assert (row["month"], row["seconds_used"], row["days_active"]) == (
        noon().date().replace(day=1),
        841,
        1,
    )
    assert (row["sessions"], row["completed_sessions"]) == (3, 2)
    assert (row["average_session_seconds"], row["longest_session_seconds"]) == (120.5, 181)
    assert json.loads(row["features_by_tier"]) == {
        "starter": {ANALYSES: 2},
        "premium": {ANALYSES: 3},
    }
    assert (row["features_used"], row["tier"]) == (5, "premium")
    assert row["last_activity"] >= noon() + timedelta(seconds=600)


async def test_overage_of_a_month_is_what_was_used_past_the_limit_of_a_plan_that_bills_it(
    db: asyncpg.Connection,
) -> None:
    overage = "SELECT overage_seconds FROM user_monthly_stats WHERE user_id = 'ann'"
    await db.execute("SELECT ensure_user_exists('ann')")
    await db.execute(
        "UPDATE plan_limits SET limit_value = 2 WHERE usage_type = 'minutes_per_month'"
    )
    await record(db, "ann", "ann", 150)
    assert await db.fetchval(overage) == 0
    await db.execute("UPDATE plans SET soft_cap = true")
    assert await db.fetchval(overage) == 30
    await db.execute("UPDATE organizations SET monthly_audio_hours_limit = 100.0 / 3600")
    assert await db.fetchval(overage) == 50
    await record(db, "acme", "ann", 150)
    in_acme = overage + " AND organization_id = 'acme'"
    assert await db.fetchval(in_acme) is None


async def test_a_lifetime_has_months_subscribed_the_highest_tier_and_revenue(
    db: asyncpg.Connection,
) -> None:
    await db.execute("INSERT INTO organizations (id) VALUES ('ann')")
    month = noon().replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1)
    await db.execute(
        "INSERT INTO user_subscriptions"
        " (organization_id, plan_id, status, started_at, ended_at) VALUES"
        " ('ann', 'premium', 'canceled', $1, $1::timestamptz + interval '20 days'),"
        " ('ann', 'professional', 'trialing', $2, NULL)",
        before,
        month - timedelta(hours=12),
    )
    await db.execute("SELECT ensure_user_exists('ann')")
    found = await lifetime(db, "ann")
    assert (found["highest_tier"], found["revenue_cents"]) == ("premium", 9900)
    assert found["months_subscribed"] == 2
    assert found["total_sessions"] == 0
    assert found["first_activity"] is None


async def test_the_last_activity_of_a_running_session_is_its_last_counted_second(
    db: asyncpg.Connection,
) -> None:
    began = this_day() - timedelta(days=2)
    activity = "SELECT first_activity, last_activity FROM user_lifetime_stats"
    month = "SELECT max(last_activity) FROM user_monthly_stats"
    session = await record(db, "ann", "ann", 61, began, ended=False)
    assert tuple(await row_of(db, activity)) == (began, began + timedelta(seconds=61))
    assert await db.fetchval(month) == began + timedelta(seconds=61)
    await db.execute(
        "INSERT INTO usage_tracking VALUES ($1, 'ann', 'ann', $2, 128)",
        session,
        began + timedelta(minutes=9),
    )
    assert await db.fetchval(month) == began + timedelta(minutes=9, seconds=8)
    await db.execute("DELETE FROM usage_tracking WHERE minute_timestamp > $1", began)
    assert tuple(await row_of(db, activity)) == (began, began + timedelta(minutes=1))


async def test_the_use_of_a_feature_is_an_activity_of_the_month_and_of_the_lifetime(
    db: asyncpg.Connection,
) -> None:
    await record(db, "ann", "ann", 60, this_day() - timedelta(days=2))
    await track(db, "ann", {ANALYSES: 1})
    used_at = await db.fetchval("SELECT used_at FROM feature_events")
    assert await db.fetchval("SELECT last_activity FROM user_lifetime_stats") == used_at
    assert await db.fetchval("SELECT max(last_activity) FROM user_monthly_stats") == used_at
    await db.execute("TRUNCATE usage_tracking")
    row = await row_of(db, "SELECT first_activity, last_activity FROM user_lifetime_stats")
    assert tuple(row) == (used_at, used_at)


async def test_revenue_goes_by_the_price_that_was_subscribed_to(db: asyncpg.Connection) -> None:
    revenue = "SELECT revenue_cents FROM user_lifetime_stats WHERE user_id = 'ann'"
    await db.execute("SELECT ensure_user_exists('ann')")
    started = datetime.now(UTC) - timedelta(days=70)
    await db.execute("UPDATE user_subscriptions SET started_at = $1", started)
    assert await db.fetchval(revenue) == 3 * 3000
    await db.execute("UPDATE plans SET price_cents = 4000 WHERE id = 'starter'")
    assert await db.fetchval(revenue) == 3 * 3000
    await db.execute("SELECT ensure_user_exists('bob')")
    assert await db.fetchval(revenue.replace("ann", "bob")) == 4000
    price = "SELECT price_cents FROM get_user_subscription_info($1)"
    assert [await db.fetchval(price, user) for user in ("ann", "bob")] == [3000, 4000]


async def test_revenue_and_tier_of_each_month_go_by_the_plan_in_force_in_it(
    db: asyncpg.Connection,
) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    started = datetime.now(UTC) - timedelta(days=70)
    await db.execute("UPDATE user_subscriptions SET started_at = $1", started)
    await db.execute("UPDATE user_subscriptions SET plan_id = 'premium'")
    found = await lifetime(db, "ann")
    assert (found["revenue_cents"], found["highest_tier"]) == (3000 + 3000 + 9900, "premium")
    await db.execute("UPDATE user_subscriptions SET plan_id = 'professional'")
    found = await lifetime(db, "ann")
    assert (found["revenue_cents"], found["highest_tier"]) == (3000 + 3000 + 5000, "premium")
    plan_at = "SELECT plan_at('ann', $1)"
    assert await db.fetchval(plan_at, started + timedelta(days=1)) == "starter"
    assert await db.fetchval(plan_at, datetime.now(UTC)) == "professional"


async def test_a_trial_that_ends_unpaid_is_no_revenue_and_one_that_goes_on_is(
    db: asyncpg.Connection,
) -> None:
    revenue = "SELECT revenue_cents FROM user_lifetime_stats WHERE user_id = 'ann'"
    await db.execute("SELECT ensure_user_exists('ann')")
    await db.execute("UPDATE user_subscriptions SET status = 'trialing'")
    assert await db.fetchval(revenue) == 0
    await db.execute("UPDATE plans SET price_cents = 4000")
    await db.execute("UPDATE user_subscriptions SET status = 'active'")
    assert await db.fetchval(revenue) == 3000
    await db.execute("UPDATE user_subscriptions SET status = 'trialing'")
    await db.execute("UPDATE user_subscriptions SET status = 'canceled', ended_at = now()")
    assert await db.fetchval(revenue) == 0


async def test_overage_of_a_past_month_goes_by_the_limits_of_that_time(
    db: asyncpg.Connection,
) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    before = noon().replace(day=1) - timedelta(days=5)
    await db.execute("UPDATE user_subscriptions SET started_at = $1", before - timedelta(days=40))
    await db.execute("UPDATE plans SET soft_cap = true")
    await db.execute(
        "UPDATE plan_limits SET limit_value = 2 WHERE usage_type = 'minutes_per_month'"
    )
    # All of that held long ago.
    await db.execute("UPDATE plan_terms SET since = since - interval '100 days'")
    await record(db, "ann", "ann", 150, before)
    await record(db, "ann", "ann", 150)
    overage = "SELECT overage_seconds FROM user_monthly_stats ORDER BY month"
    assert [row[0] for row in await db.fetch(overage)] == [30, 30]
    await db.execute(
        "UPDATE plan_limits SET limit_value = 1 WHERE usage_type = 'minutes_per_month'"
    )
    assert [row[0] for row in await db.fetch(overage)] == [30, 90]
    await db.execute("UPDATE organizations SET monthly_audio_hours_limit = 100.0 / 3600")
    assert [row[0] for row in await db.fetch(overage)] == [30, 50]
    await db.execute("UPDATE organizations SET monthly_audio_hours_limit = -1")
    assert [row[0] for row in await db.fetch(overage)] == [30, 0]
    await db.execute("UPDATE organizations SET monthly_audio_hours_limit = NULL")
    await db.execute("UPDATE plans SET soft_cap = false")
    assert [row[0] for row in await db.fetch(overage)] == [30, 0]


async def test_a_feature_may_be_asked_for_this_month(db: asyncpg.Connection) -> None:
    assert await db.fetchval("SELECT can_use_feature('ann', $1, 5)", ANALYSES)
    await track(db, "ann", {ANALYSES: 1})
    assert not await db.fetchval("SELECT can_use_feature('ann', $1, 5)", ANALYSES)


async def test_milestones_are_reached_by_whole_minutes_sessions_and_days(
    db: asyncpg.Connection,
) -> None:
    await record(db, "ann", "ann", 3599)
    reached = "SELECT kind, value FROM user_milestones WHERE user_id = 'ann' AND reached"
    assert [tuple(row) for row in await db.fetch(reached)] == [("sessions", 1)]
    await record(db, "ann", "ann", 1)
    assert {tuple(row) for row in await db.fetch(reached)} == {("sessions", 1), ("minutes", 60)}


async def test_operators_see_adoption_by_tier(db: asyncpg.Connection) -> None:
    for user in ("ann", "bob"):
        await track(db, user, {ANALYSES: 2})
    await track(db, "ann", {ANALYSES: 1})
    rows = await db.fetch("SELECT tier, usage_type, users, amount FROM feature_adoption")
    assert [tuple(row) for row in rows] == [("starter", ANALYSES, 2, 5)]


async def test_feature_adoption_by_tier_is_of_a_month_and_comes_in_pages(
    db: asyncpg.Connection,
) -> None:
    reviews = "video_review_per_month"
    for user in ("ann", "bob"):
        await track(db, user, {ANALYSES: 2})
    await db.execute("SELECT ensure_user_exists('cyd')")
    await subscribe(db, "dan", "premium")
    await track(db, "dan", {ANALYSES: 1, reviews: 3})
    day = datetime.now(UTC).date()
    asked = "SELECT * FROM feature_adoption_by_tier($1, 2, $2, $3)"
    first = await db.fetch(asked, day, None, None)
    assert [tuple(row) for row in first] == [
        ("premium", ANALYSES, 1, 1, 1),
        ("premium", reviews, 1, 3, 1),
    ]
    second = await db.fetch(asked, day, "premium", reviews)
    assert [tuple(row) for row in second] == [("starter", ANALYSES, 2, 4, 3)]
    earlier = day.replace(day=1) - timedelta(days=1)
    assert await db.fetch(asked, earlier, None, None) == []


async def test_power_users_and_those_who_dropped_off_come_in_pages(
    db: asyncpg.Connection,
) -> None:
    await make_partitions(db, 3)
    today = this_day().date()
    for user, seconds, days in (("ann", 60, 40), ("bob", 60, 41), ("cyd", 61, 42), ("dan", 9, 1)):
        await record(db, "acme", user, seconds, this_day() - timedelta(days=days))
    power = "SELECT user_id, seconds FROM power_users($1, 2, $2, $3, $4)"
    since, until = today - timedelta(days=42), today - timedelta(days=40)
    page = await db.fetch(power, since, until, None, None)
    assert [tuple(row) for row in page] == [("cyd", 61), ("ann", 60)]
    page = await db.fetch(power, since, until, 60, "ann")
    assert [tuple(row) for row in page] == [("bob", 60)]
    dropped = "SELECT user_id, idle FROM dropped_off_users(30, 2, $1, $2, $3)"
    page = await db.fetch(dropped, 365, None, None)
    assert [tuple(row) for row in page] == [("cyd", 42), ("ann", 40)]
    page = await db.fetch(dropped, 365, 60, "ann")
    assert [tuple(row) for row in page] == [("bob", 41)]
    page = await db.fetch(dropped, 41, None, None)
    assert [tuple(row) for row in page] == [("ann", 40), ("bob", 41)]


async def test_operators_see_power_users_and_those_who_dropped_off(
    db: asyncpg.Connection,
) -> None:
    await make_partitions(db, 3)
    await record(db, "acme", "ann", 60, this_day() - timedelta(days=40))
    await record(db, "acme", "bob", 30, this_day() - timedelta(days=1))
    await record(db, "bob", "bob", 31, this_day() - timedelta(days=2))
    rows = await db.fetch(
        "SELECT user_id, seconds FROM power_users($1)", this_day().date().replace(year=2000)
    )
    assert [tuple(row) for row in rows] == [("bob", 61), ("ann", 60)]
    rows = await db.fetch("SELECT user_id, idle FROM dropped_off_users(30)")
    assert [tuple(row) for row in rows] == [("ann", 40)]
