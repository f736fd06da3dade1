"""System A, minute tracking for live recordings: what the tests of the SQL don't show by name."""

import asyncio
import time
from uuid import uuid4

import asyncpg
import pytest

from persistence.bills import load_bill
from persistence.payments.overage import OverageReporter
from persistence.payments.provider import Provider
from tests.calm import calm_zone
from tests.gateway.serving import recording, token
from tests.http.conftest import Service
from tests.payments.fake_stripe import KEY as STRIPE_KEY
from tests.payments.fake_stripe import fake_stripe
from tests.systems.calls import limit, one, record, yesterday

pytestmark = pytest.mark.integration

ROWS = "SELECT sum(seconds_recorded), count(*) FROM usage_tracking WHERE session_id = $1"


async def figure(service: Service, name: str, value: int) -> None:
    """Ann's check-limit comes to say so."""
    caller = service.caller("acme", "ann")
    async with asyncio.timeout(30):
        while (await caller.get("/api/usage/check-limit"))[name] != value:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_accuracy_is_to_the_second_and_bills_are_by_the_minute_rounded_up(
    service: Service,
) -> None:
    caller = service.caller("acme", "ann")
    await service.calm("acme")
    await record(caller, 31)
    await record(caller, 30)
    await service.flush()
    month = await caller.get("/api/usage/current-month")
    assert (month["used_seconds"], month["minutes_used"]) == (61, 2)
    bill = await load_bill(service.database_url, "acme", int(time.time()))
    assert (bill.recorded, bill.billed) == (61, 120)


async def test_get_usage_check_limit_has_the_five_figures(service: Service) -> None:
    caller = service.caller("acme", "ann")
    await limit(service, "acme", 36_000)
    await record(caller, 60)
    await record(caller, 1)
    answer = await caller.get("/api/usage/check-limit")
    assert {
        "can_record": True,
        "minutes_used": 2,
        "minutes_limit": 600,
        "minutes_remaining": 598,
        "percentage_used": 0.1,
    }.items() <= answer.items()


async def test_post_usage_track_minute_records_without_a_websocket_and_repeats_change_nothing(
    service: Service,
) -> None:
    caller = service.caller("acme", "ann")
    body = {
        "session_id": str(uuid4()),
        "seconds_recorded": 45,
        "minute_timestamp": int(time.time()) - 120,
    }
    for new in (45, 0, 0):
        answer = await caller.post("/api/usage/track-minute", body)
        assert (answer["seconds_recorded"], answer["seconds_new"]) == (45, new)
    await service.flush()
    assert await one(service, ROWS, body["session_id"]) == (45, 1)


async def test_get_usage_current_month_has_days_on_request_and_a_projection(
    service: Service,
) -> None:
    caller = service.caller("acme", "ann")
    await limit(service, "acme", 36_000)
    await record(caller, 50)
    await service.flush()
    month = await caller.get("/api/usage/current-month")
    assert (month["minutes_used"], month["daily_breakdown"]) == (1, None)
    assert month["projection"]["projected_seconds"] >= 50
    with_days = await caller.get("/api/usage/current-month", daily="true")
    assert [day["seconds"] for day in with_days["daily_breakdown"]] == [50]


async def test_get_users_stats_v2_has_minutes_and_hours_a_projection_and_recommendations(
    service: Service,
) -> None:
    caller = service.caller("acme", "ann")
    await limit(service, "acme", 100)
    await record(caller, 60)
    await record(caller, 36)
    await service.flush()
    stats = await caller.get("/api/users/stats-v2")
    assert (stats["current_month"]["seconds_used"], stats["current_month"]["minutes_used"]) == (
        96,
        2,
    )
    hours = ("monthly_audio_hours_used", "monthly_audio_hours_limit", "total_audio_hours")
    assert [stats[name] for name in hours] == [0.03, 0.03, 0.03]
    assert stats["projection"]["projected_seconds"] >= 96
    assert [each["code"] for each in stats["recommendations"]][:1] == ["near_limit"]


async def test_before_a_recording_limits_are_checked_over_refuses_and_under_10_minutes_warns(
    service: Service,
) -> None:
    await limit(service, "acme", 700)
    await limit(service, "globex", 0)
    for ago in (2, 3):
        await record(service.caller("acme", "bob"), 60, ago)
    async with recording(service.served, "acme") as recorder:
        started = await recorder.start(token=token("acme", "ann"))
        assert started["usage"]["remaining_seconds"] == 580
        warning = await recorder.one("warning")
        assert (warning["kind"], warning["value"]) == ("remaining_minutes", 10)
    async with recording(service.served, "globex") as recorder:
        await recorder.send(
            type="start", token=token("globex", "ann"), session_id=recorder.session_id
        )
        assert (await recorder.one("error"))["code"] == "limit_reached"
        assert await recorder.closed() == 4500


async def test_during_every_second_counts_minutes_are_saved_and_the_limit_stops_with_a_grace(
    service: Service,
) -> None:
    plan = {"id": "short", "name": "Short", "grace_seconds": 1, "limits": {}}
    await service.operator.post("/api/admin/plans", plan, status=201)
    await service.calm("acme")
    subscription = {"organization_id": "acme", "plan_id": "short"}
    await service.operator.post("/api/admin/subscriptions", subscription, status=201)
    await limit(service, "acme", 700)
    async with recording(service.served, "acme") as recorder:
        begun = int(time.time()) - 150
        await recorder.start(token=token("acme", "ann"), origin=begun)
        await recorder.hear(0, 98)
        assert (await recorder.acked(98))["session_seconds"] == 99
        assert not [each for each in recorder.received if each["type"] == "warning"]
        await recorder.hear(99, 99)
        warning = await recorder.one("warning")
        assert (warning["kind"], warning["value"]) == ("remaining_minutes", 10)
        await service.flush()  # what is complete is saved while it lives
        saved, _ = await one(service, ROWS, recorder.session_id)
        assert 60 <= saved <= 100
        await limit(service, "acme", 120)
        await figure(service, "limit_seconds", 120)
        await recorder.hear(100, 140)
        stop = await recorder.one("stop")
        assert (stop["reason"], stop["last_second"], stop["grace_seconds"]) == (
            "limit_reached",
            119,
            1,
        )
        await recorder.hear(141, 145)  # in the grace: not counted
        stopped = await recorder.one("stopped")
        assert stopped["session_seconds"] == 120
        assert await recorder.closed() == 4500
    await service.flush()
    assert (await one(service, ROWS, recorder.session_id))[0] == 120


async def test_at_its_end_the_partial_minute_is_saved_and_the_sessions_duration_updated(
    service: Service,
) -> None:
    async with recording(service.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"), origin=int(time.time()) - 100)
        await recorder.hear(0, 69)
        await recorder.acked(69)
        await recorder.send(type="stop")
        assert (await recorder.one("stopped"))["session_seconds"] == 70
    await service.flush()
    assert (await one(service, ROWS, recorder.session_id))[0] == 70
    duration = "SELECT duration_minutes, end_reason FROM interview_sessions WHERE session_id = $1"
    assert await one(service, duration, recorder.session_id) == (2, "stopped")


# Its own list of next steps -----------------------------------------------------------------------


async def test_next_step_usage_reports_and_bulk_usage_reports(service: Service) -> None:
    await record(service.caller("acme", "ann"), 60)
    await record(service.caller("globex", "bob"), 30)
    await service.flush()
    path = "/api/admin/usage/report"
    span = {"first_day": yesterday()}  # this month's, unless asked for others, may begin just now
    rows = await service.operator.get(path, rows="sessions", format="json", **span)
    assert {(row["organization_id"], row["seconds"]) for row in rows} == {
        ("acme", 60),
        ("globex", 30),
    }
    text = await service.operator.ask("GET", path, params={"format": "csv", **span})
    assert len(text.text.splitlines()) == 3


async def test_next_step_analytics_for_operators(service: Service) -> None:
    await record(service.caller("acme", "ann"), 60)
    await service.flush()
    found = await service.operator.get("/api/admin/usage/analytics", first_day=yesterday())
    assert (found["seconds"], found["organizations"], found["users"]) == (60, 1, 1)


async def test_next_step_manual_minute_adjustments(service: Service) -> None:
    caller = service.caller("acme", "ann")
    await limit(service, "acme", 600)
    await record(caller, 60)
    body = {"organization_id": "acme", "seconds": -60, "reason": "an outage"}
    made = await service.operator.post("/api/admin/adjustments", body, status=201)
    assert (made["author"], made["reason"]) == ("olga", "an outage")
    await figure(service, "used_seconds", 0)


async def test_next_step_websockets_for_live_updates(service: Service) -> None:
    async with recording(service.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"))
        await recorder.hear(0, 0)
        acked = await recorder.acked(0)
        assert acked["usage"]["used_seconds"] == 1


async def test_next_step_batched_minute_writes(service: Service) -> None:
    caller = service.caller("acme", "ann")
    for _ in range(20):
        await record(caller, 10)
    await service.flush()
    rows, transactions = await one(
        service, "SELECT count(*), count(DISTINCT xmin::text) FROM usage_tracking"
    )
    assert (rows, transactions) == (20, 1)


async def test_next_step_redis_for_limits(service: Service) -> None:
    """While nobody can read the limits in Postgres, they hold to the second."""
    await limit(service, "acme", 90)
    async with recording(service.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"), origin=int(time.time()) - 100)
        connection = await asyncpg.connect(service.database_url)
        async with connection.transaction():
            await connection.execute(
                "LOCK TABLE organizations, organization_members, plans, plan_limits,"
                " user_subscriptions, usage_tracking, monthly_usage_cache"
            )
            await recorder.hear(0, 99)
            assert (await recorder.one("stop", 3))["last_second"] == 89
            answer = await service.caller("acme", "ann").get("/api/usage/check-limit")
            assert (answer["can_record"], answer["used_seconds"]) == (False, 90)
        await connection.close()


async def test_next_step_overage_charges_through_stripe(service: Service) -> None:
    operator, caller = service.operator, service.caller("acme", "ann")
    plan = {
        "soft_cap": True,
        "limits": {"minutes_per_month": 1},
        "stripe_meter_event_name": "overage_minutes",
    }
    await operator.ask("PATCH", "/api/admin/plans/starter", plan)
    made = {"id": "acme", "stripe_customer_id": "cus_acme", "time_zone": calm_zone()}
    await operator.post("/api/admin/organizations", made, status=201)
    subscription = {"organization_id": "acme", "plan_id": "starter"}
    await operator.post("/api/admin/subscriptions", subscription, status=201)
    await figure(service, "limit_seconds", 60)
    for _ in range(3):
        await record(caller, 60)
    await service.flush()
    async with fake_stripe() as stripe:
        provider = Provider(STRIPE_KEY, stripe.url)
        for _ in range(2):
            await OverageReporter(provider, service.database, 300).report()
        await provider.aclose()
        assert stripe.minutes("cus_acme") == 2
    bill = await load_bill(service.database_url, "acme", int(time.time()))
    assert (bill.overage, bill.reported_minutes) == (120, 2)
    owed = "SELECT owed_minutes, reported_minutes, difference FROM stripe_overage"
    assert await one(service, owed) == (2, 2, 0)
