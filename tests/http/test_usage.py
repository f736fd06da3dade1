"""`/api/usage/current-month` and `/api/users/stats-v2`."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from meter.periods import month_of
from meter.profile_messages import UserStats
from meter.projection import DAY_SECONDS, project, recommend
from tests.calm import calm_zone, month_in
from tests.http.conftest import Caller, Service

MONTH = month_of(1_794_000_000)  # November 2026, of 30 days


async def record(caller: Caller, seconds: int, ago: int = 2) -> None:
    """Seconds of a minute so many minutes ago, in a session of its own."""
    body = {
        "session_id": str(uuid4()),
        "seconds_recorded": seconds,
        "minute_timestamp": int(time.time()) - 60 * ago,
    }
    await caller.post("/api/usage/track-minute", body)


async def month_of_account(caller: Caller, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await caller.get("/api/usage/current-month", **params)
    return answer


async def test_the_month_is_never_behind_the_ledger(service: Service) -> None:
    ann, bob = service.caller("acme", "ann"), service.caller("acme", "bob")
    zone = await service.calm("acme")
    await service.limit("acme", 600)
    await record(ann, 60)
    await record(ann, 1, ago=3)
    await record(bob, 30)
    answer = await month_of_account(ann)
    assert (answer["used_seconds"], answer["minutes_used"]) == (91, 2)
    assert (answer["minutes_limit"], answer["minutes_remaining"]) == (10, 8)
    assert (answer["recorded_by_you_seconds"], answer["scope"]) == (61, "organization")
    assert answer["percentage_used"] == 15.1
    assert answer["daily_breakdown"] is None
    month = month_in(zone, int(time.time()))
    assert (answer["period_start"], answer["period_end"]) == (month.start, month.end)


async def test_its_days_are_given_on_request_and_add_up(service: Service) -> None:
    caller = service.caller("acme", "ann")
    await service.calm("acme")
    await record(caller, 60)
    await record(service.caller("acme", "bob"), 45)
    await service.flush()
    answer = await month_of_account(caller, daily="true")
    assert sum(day["seconds"] for day in answer["daily_breakdown"]) == answer["used_seconds"] == 105
    assert {"day", "seconds", "minutes"} == answer["daily_breakdown"][0].keys()


async def test_a_member_with_a_limit_of_their_own_sees_their_own_days(service: Service) -> None:
    ann, bob = service.caller("acme", "ann"), service.caller("acme", "bob")
    await service.limit("acme", 90, "ann")
    await record(ann, 60)
    await record(bob, 45)
    await service.flush()
    answer = await month_of_account(ann, daily="true")
    assert (answer["scope"], answer["used_seconds"]) == ("member", 60)
    assert sum(day["seconds"] for day in answer["daily_breakdown"]) == 60


async def test_without_a_limit_what_depends_on_one_is_null(service: Service) -> None:
    caller = service.caller("acme", "ann")
    await record(caller, 60)
    answer = await month_of_account(caller)
    nulls = ("minutes_limit", "minutes_remaining", "percentage_used", "limit_seconds")
    assert [answer[name] for name in nulls] == [None] * 4
    assert answer["unlimited"]
    assert answer["projection"]["projected_percentage"] is None
    assert not answer["projection"]["will_exceed_limit"]


async def test_statistics_are_to_the_minute_with_hours_beside_them(service: Service) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    await caller.post("/api/billing/init-user", {})
    for ago in range(2, 8):
        await record(caller, 60, ago)
    await record(caller, 30, 9)
    await service.flush()
    stats = await caller.get("/api/users/stats-v2")
    assert set(stats) == set(UserStats.__struct_fields__)
    month = stats["current_month"]
    assert (month["seconds_used"], month["minutes_used"]) == (390, 7)
    assert (month["minutes_limit"], month["minutes_remaining"]) == (300, 293)
    assert stats["monthly_audio_hours_used"] == 0.11
    assert (stats["monthly_audio_hours_limit"], stats["monthly_audio_hours_remaining"]) == (5, 4.89)
    assert stats["total_audio_hours"] == 0.11
    lifetime = stats["lifetime"]
    assert (lifetime["total_sessions"], lifetime["total_seconds"]) == (7, 390)
    assert stats["months"][0]["seconds_used"] == 390
    reached = {(each["kind"], each["value"]) for each in stats["milestones"] if each["reached"]}
    assert ("sessions", 1) in reached
    assert ("sessions", 10) not in reached
    assert (await caller.get("/api/users/stats-v2", months=0))["months"] == []


async def test_statistics_are_the_users_own(service: Service) -> None:
    ann, bob = service.caller("acme", "ann"), service.caller("acme", "bob")
    await service.calm("acme")
    await record(ann, 60)
    await record(bob, 20)
    await service.flush()
    stats = await bob.get("/api/users/stats-v2")
    month = stats["current_month"]
    assert (month["seconds_used"], month["account_seconds_used"]) == (20, 80)
    assert stats["lifetime"]["total_seconds"] == 20


def test_a_projection_goes_on_at_the_present_rate() -> None:
    now = MONTH.start + 10 * DAY_SECONDS
    made = project(MONTH, 3600, 7200, now, "UTC")
    assert (made.days_elapsed, made.days_in_period) == (10, 30)
    assert (made.projected_seconds, made.projected_minutes) == (10_800, 180)
    assert (made.daily_average_minutes, made.projected_percentage) == (6, 150)
    assert made.will_exceed_limit
    assert made.limit_reached_on is not None
    assert made.limit_reached_on.isoformat() == "2026-11-21"


def test_a_projection_at_the_edges() -> None:
    first = project(MONTH, 0, 600, MONTH.start, "UTC")
    assert (first.projected_seconds, first.will_exceed_limit) == (0, False)
    last = project(MONTH, 600, 600, MONTH.end, "UTC")
    assert (last.projected_seconds, last.will_exceed_limit) == (600, False)
    assert last.limit_reached_on is not None
    none = project(MONTH, 60, 0, MONTH.end - 1, "UTC")
    assert none.projected_percentage == 100
    given_back = project(MONTH, -600, 600, MONTH.start + DAY_SECONDS, "UTC")
    assert (given_back.projected_seconds, given_back.projected_minutes) == (0, 0)
    assert (given_back.projected_percentage, given_back.limit_reached_on) == (0, None)


PLANS = (60, 5000)  # minutes, of which 36,000 seconds are between


def codes(used: int, limit: int | None, days: float, others: tuple[int, ...] = PLANS) -> list[str]:
    remaining = None if limit is None else max(limit - used, 0)
    made = project(MONTH, used, limit, MONTH.start + days * DAY_SECONDS, "UTC")
    return [code for code, _ in recommend(limit, remaining, made, others)]


def test_recommendations_follow_from_the_figures() -> None:
    assert codes(36_000, None, 10) == []
    assert codes(36_000, 36_000, 10) == ["limit_reached"]
    assert codes(35_500, 36_000, 15) == ["near_limit", "upgrade"]
    assert codes(20_000, 36_000, 10) == ["upgrade"]
    assert codes(12_000, 36_000, 15) == []
    assert codes(100, 36_000, 15) == ["downgrade"]
    assert codes(100, 36_000, 5) == []


def test_another_plan_is_recommended_only_where_there_is_one_that_would_do() -> None:
    assert codes(20_000, 36_000, 10, (60, 600)) == ["slow_down"]
    assert codes(20_000, 36_000, 10, (-1,)) == ["upgrade"]
    assert codes(100, 36_000, 15, (600, 5000, -1)) == []
    assert codes(5000, 36_000, 15, (60, 5000)) == []  # 10,000 seconds are more than 60 minutes
    assert codes(5000, 36_000, 15, (200, 5000)) == ["downgrade"]
    messages = [
        text
        for plans in ((), (5000,))
        for _, text in recommend(600, 0, project(MONTH, 600, 600, MONTH.end, "UTC"), plans)
    ]
    assert ["larger plan" in each for each in messages] == [False, True]


async def test_no_plan_is_recommended_to_an_account_that_no_plan_limits(service: Service) -> None:
    async def recommended() -> dict[str, str]:
        found = (await caller.get("/api/users/stats-v2"))["recommendations"]
        return {each["code"]: each["message"] for each in found}

    caller = service.caller("acme", "ann")
    await service.limit("acme", 60)
    await record(caller, 60)
    assert await recommended() == {"limit_reached": "No minutes are left this month."}
    starter = {"organization_id": "acme", "plan_id": "starter"}
    await service.operator.post("/api/admin/subscriptions", starter, status=201)
    assert await recommended() == {"limit_reached": "No minutes are left this month."}
    plans = {"monthly_audio_hours_limit": None}
    await service.operator.ask("PATCH", "/api/admin/organizations/acme", plans)
    usages = {"minutes_per_month": 299}
    assert (await caller.post("/api/billing/track-usage", {"usages": usages}))["allowed"]
    assert "a larger plan" in (await recommended())["limit_reached"]


async def test_used_minutes_are_rounded_up_and_milestones_are_of_whole_ones(
    service: Service,
) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    await caller.post("/api/billing/init-user", {})
    for seconds, total, reached in ((3599, 60, (59, False)), (1, 60, (60, True))):
        await service.sql(
            "SELECT record_ended_session($1, $1, $2, 'interview')", caller.user, seconds
        )
        stats = await caller.get("/api/users/stats-v2")
        assert stats["lifetime"]["total_minutes"] == stats["months"][0]["minutes_used"] == total
        (milestone,) = (
            each for each in stats["milestones"] if (each["kind"], each["value"]) == ("minutes", 60)
        )
        assert (milestone["present_value"], milestone["reached"]) == reached


async def test_features_are_told_by_month_and_tier(service: Service) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    await caller.post("/api/billing/init-user", {})
    await caller.post("/api/billing/track-usage", {"usages": {"interviews_per_day": 2}})
    premium = {"organization_id": caller.organization, "plan_id": "premium"}
    await service.operator.post("/api/admin/subscriptions", premium, status=201)
    both = {"interviews_per_day": 1, "video_review_per_month": 4}
    await caller.post("/api/billing/track-usage", {"usages": both})
    (month,) = (await caller.get("/api/users/stats-v2"))["months"]
    assert month["features_by_tier"] == {"starter": {"interviews_per_day": 2}, "premium": both}
    assert (month["features_used"], month["tier"]) == (7, "premium")
    await record(caller, 60)
    await service.flush()
    (month,) = (await caller.get("/api/users/stats-v2"))["months"]
    assert month["seconds_used"] == 60
    assert datetime.fromisoformat(month["last_activity"]) <= datetime.now(UTC)


async def adjust(service: Service, organization: str, seconds: int, user: str | None) -> None:
    body = {"organization_id": organization, "seconds": seconds, "reason": "x", "user_id": user}
    await service.operator.post("/api/admin/adjustments", body, status=201)


async def test_a_credit_shows_in_seconds_and_makes_no_minutes_or_percentages_negative(
    service: Service,
) -> None:
    caller = service.caller("acme", "ann")
    await service.limit("acme", 18_000)
    await service.limit("acme", -1, "ann")
    await adjust(service, "acme", -7000, "ann")
    check = await caller.get("/api/usage/check-limit")
    month = await month_of_account(caller)
    stats = await caller.get("/api/users/stats-v2")
    present = stats["current_month"]
    for answer in (check, month, present):
        assert (answer["minutes_used"], answer["percentage_used"]) == (0, 0)
        assert (answer["minutes_limit"], answer["minutes_remaining"]) == (300, 416)
    for answer in (check, month):
        assert (answer["used_seconds"], answer["remaining_seconds"]) == (-7000, 25_000)
    assert (present["seconds_used"], present["account_seconds_used"]) == (-7000, -7000)
    assert (month["adjusted_seconds"], present["adjusted_seconds"]) == (-7000, -7000)
    for projection in (month["projection"], stats["projection"]):
        names = ("projected_seconds", "projected_minutes", "projected_percentage")
        assert [projection[name] for name in names] == [0, 0, 0]
    hours = (stats["monthly_audio_hours_used"], stats["monthly_audio_hours_remaining"])
    assert hours == (0, 6.94)
    asked = {"usage_type": "minutes_per_month"}
    minutes = await caller.post("/api/billing/usage-check", asked)
    assert (minutes["current_usage"], minutes["limit"], minutes["remaining"]) == (0, 300, 416)
    summary = await caller.get("/api/billing/usage-summary")
    (listed,) = (each for each in summary["usages"] if each["usage_type"] == asked["usage_type"])
    shown = ("current_usage", "limit", "remaining", "percentage_used")
    assert [listed[name] for name in shown] == [0, 300, 416, 0]
    limits = await service.operator.get("/api/admin/organizations/acme/limits", user_id="ann")
    assert (limits["used_seconds"], limits["adjusted_seconds"]) == (-7000, -7000)


async def test_a_credit_of_a_personal_account_leaves_no_minutes_below_zero(
    service: Service,
) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    assert await caller.get("/api/billing/subscription-info") == {"subscription": None}
    assert (await caller.get("/api/usage/check-limit"))["minutes_limit"] == 300
    await caller.post("/api/billing/init-user", {})
    await adjust(service, caller.organization, -90, caller.user)
    overview = await caller.get("/api/profile/overview")
    assert (overview["minutes_used_this_month"], overview["minutes_remaining"]) == (0, 301)
    assert (await caller.get("/api/usage/check-limit"))["minutes_used"] == 0


async def test_what_was_adjusted_stands_beside_what_was_recorded(service: Service) -> None:
    caller = service.caller("acme", "ann")
    await service.calm("acme")
    for ago in range(2, 12):
        await record(caller, 60, ago)
    await service.flush()
    await adjust(service, "acme", -300, "ann")
    await adjust(service, "acme", -100, None)
    stats = await caller.get("/api/users/stats-v2")
    present, (recorded,) = stats["current_month"], stats["months"]
    assert (present["seconds_used"], present["adjusted_seconds"]) == (300, -300)
    assert (recorded["seconds_used"], recorded["adjusted_seconds"]) == (600, -300)
    assert stats["lifetime"]["total_seconds"] == 600
    month = await month_of_account(caller, daily="true")
    assert (month["used_seconds"], month["adjusted_seconds"]) == (200, -400)
    assert sum(day["seconds"] for day in month["daily_breakdown"]) == 600


async def test_an_adjustment_is_of_the_calendar_month_of_the_accounts_time_zone(
    service: Service,
) -> None:
    caller = service.caller("acme", "ann")
    zone = calm_zone(("Asia/Tokyo", "America/Los_Angeles"))
    await service.organization("acme", zone)
    await record(caller, 60)
    await service.flush()
    month = month_in(zone, int(time.time()))
    for moment, seconds in ((month.start - 1, 7), (month.start, 30), (month.end, 500)):
        body = {"organization_id": "acme", "seconds": seconds, "reason": "x", "user_id": "ann"}
        await service.operator.post(
            "/api/admin/adjustments", {**body, "effective_at": moment}, status=201
        )
    (shown,) = (await caller.get("/api/users/stats-v2"))["months"]
    assert (shown["seconds_used"], shown["adjusted_seconds"]) == (60, 30)
