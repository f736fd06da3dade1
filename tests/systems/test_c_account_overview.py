"""System C, account overview: over HTTP, what the tests of the SQL show in Postgres."""

import pytest

from tests.http.conftest import Service
from tests.systems.calls import one, record, use

pytestmark = pytest.mark.integration

OVERVIEW = "/api/profile/overview"


async def test_a_profiles_minutes_are_total_allocated_used_and_remaining(service: Service) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    fresh = await caller.get(OVERVIEW)
    assert (fresh["membership"], fresh["total_minutes"]) == ("starter", 0)
    await record(caller, 60)
    await record(caller, 1)
    await use(service.caller("acme", caller.user), minutes_per_month=5)
    await service.flush()
    answer = await caller.get(OVERVIEW)
    assert answer["total_minutes"] == 7  # of all accounts
    assert (answer["monthly_minutes_allocation"], answer["minutes_used_this_month"]) == (300, 2)
    assert answer["minutes_remaining"] == 298
    assert answer["period_start"] < answer["period_end"]


async def test_computed_not_stored_the_figures_follow_the_recorded_minutes(
    service: Service,
) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    await caller.get(OVERVIEW)
    kept, gone = await record(caller, 60), await record(caller, 60)
    await service.flush()
    assert (await caller.get(OVERVIEW))["minutes_used_this_month"] == 2
    await service.sql("DELETE FROM usage_tracking WHERE session_id = $1 RETURNING 1", gone)
    answer = await caller.get(OVERVIEW)
    assert (answer["total_minutes"], answer["minutes_used_this_month"]) == (1, 1)
    seconds = "SELECT total_seconds FROM interviews WHERE id = $1"
    assert await one(service, seconds, kept) == (60,)


async def test_tables_profiles_and_interviews_have_what_they_had(service: Service) -> None:
    caller = service.caller()
    await caller.post("/api/billing/init-user", {})
    session = await record(caller, 60)
    await service.operator.post(f"/api/admin/sessions/{session}/stop")
    await service.flush()
    profile = (
        "SELECT id, membership, monthly_minutes_allocation, organization_id, stripe_customer_id,"
        " stripe_subscription_id FROM profiles WHERE user_id = $1"
    )
    identity, *others = await one(service, profile, caller.user)
    assert others == ["starter", 300, None, None, None]
    interview = (
        "SELECT profile_id, end_time > start_time, total_minutes, status FROM interviews"
        " WHERE id = $1"
    )
    assert await one(service, interview, session) == (identity, True, 1, "completed")
