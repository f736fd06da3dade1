"""System E, lifetime statistics: over HTTP, what the tests of the SQL show in Postgres."""

import pytest

from tests.http.conftest import Service
from tests.systems.calls import ANALYSES, INTERVIEWS, one, record, use

pytestmark = pytest.mark.integration


async def test_per_user_and_month_there_are_features_sessions_overage_tier_and_activity(
    service: Service,
) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    assert (await use(caller, **{ANALYSES: 2}))["allowed"]
    for seconds in (60, 20):
        session = await record(caller, seconds)
        await service.operator.post(f"/api/admin/sessions/{session}/stop")
    await record(caller, 10)  # still live
    await service.flush()
    (month,) = (await caller.get("/api/users/stats-v2"))["months"]
    assert {
        "seconds_used": 90,
        "sessions": 3,
        "completed_sessions": 2,
        "average_session_seconds": 40.0,
        "longest_session_seconds": 60,
        "overage_seconds": 0,
        "features_used": 2,
        "tier": "starter",
    }.items() <= month.items()
    row = (
        "SELECT features_by_tier #>> ARRAY['starter', $2], last_activity IS NOT NULL"
        " FROM user_monthly_stats WHERE user_id = $1"
    )
    assert await one(service, row, caller.user, ANALYSES) == ("2", True)


async def test_user_lifetime_stats_are_always_equal_to_what_the_rows_say(service: Service) -> None:
    caller = service.caller()
    await use(caller, **{ANALYSES: 2, INTERVIEWS: 1})
    gone = await record(caller, 60)
    await record(caller, 30)
    await service.flush()
    first = (await caller.get("/api/users/stats-v2"))["lifetime"]
    assert {
        "total_sessions": 2,
        "total_seconds": 90,
        "features_used": 3,
        "days_active": 1,
        "current_streak": 1,
        "longest_streak": 1,
        "average_sessions_per_month": 2.0,
        "months_subscribed": 1,
        "highest_tier": "starter",
    }.items() <= first.items()
    await service.sql("DELETE FROM usage_tracking WHERE session_id = $1 RETURNING 1", gone)
    row = "SELECT total_seconds, revenue_cents FROM user_lifetime_stats WHERE user_id = $1"
    rows = "SELECT sum(seconds_recorded)::bigint FROM usage_tracking WHERE user_id = $1"
    assert await one(service, row, caller.user) == (30, 3000)
    assert await one(service, rows, caller.user) == (30,)


async def test_calls_record_several_kinds_at_once_and_ask_for_a_feature_this_month(
    service: Service,
) -> None:
    caller = service.caller()
    usages = {"minutes_per_month": 1.5, ANALYSES: 5, INTERVIEWS: 1}
    assert (await use(caller, **usages))["allowed"]
    assert not (await use(caller, **usages))["allowed"]  # no analysis is left: nothing is taken
    await service.flush()
    taken = "SELECT count(*), sum(amount) FROM feature_events WHERE user_id = $1"
    assert await one(service, taken, caller.user) == (2, 6)
    question = {"usage_type": ANALYSES}
    assert not (await caller.post("/api/billing/usage-check", question))["allowed"]
    may = "SELECT can_use_feature($1, $2, 1), can_use_feature($1, $3, 2)"
    assert await one(service, may, caller.user, ANALYSES, INTERVIEWS) == (False, True)


async def test_uses_are_milestones_for_users_and_adoption_power_users_and_drop_off_for_operators(
    service: Service,
) -> None:
    caller = service.caller()
    await use(caller, **{ANALYSES: 2})
    await record(caller, 60)
    await service.flush()
    milestones = (await caller.get("/api/users/stats-v2"))["milestones"]
    assert [(each["kind"], each["value"]) for each in milestones if each["reached"]] == [
        ("sessions", 1)
    ]
    adoption = (
        "SELECT tier, usage_type, users, amount, accounts"
        " FROM feature_adoption_by_tier(current_date)"
    )
    assert await one(service, adoption) == ("starter", ANALYSES, 1, 2, 1)
    power = "SELECT user_id, seconds FROM power_users(current_date - 7)"
    assert await one(service, power) == (caller.user, 60)
    assert await service.sql("SELECT * FROM dropped_off_users(30)") == []
    idle = "SELECT user_id, seconds FROM dropped_off_users(0)"
    assert await one(service, idle) == (caller.user, 60)
