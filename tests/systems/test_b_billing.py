"""System B, billing with plans and features: what the tests of the SQL don't show by name."""

import asyncio
from typing import Any

import pytest

from tests.gateway.serving import Recorder, recording, token
from tests.http.conftest import Service
from tests.http.described import described_operations
from tests.payments.events import checkout, subscription, told
from tests.payments.sending import send
from tests.systems.calls import ANALYSES, INTERVIEWS, one, record, use

pytestmark = pytest.mark.integration

BILLING = "/api/billing"
MINUTES, REVIEWS = "minutes_per_month", "video_review_per_month"


async def plans(service: Service) -> dict[str, dict[str, Any]]:
    answer = await service.operator.get("/api/admin/plans")
    return {plan["id"]: plan for plan in answer["items"]}


async def test_tables_users_plans_limits_subscriptions_usage_and_sessions_have_their_rows(
    service: Service,
) -> None:
    caller = service.caller()
    await caller.post(f"{BILLING}/init-user", {"email": "ann@example.com"})
    session = await record(caller, 60)
    await use(caller, **{ANALYSES: 2})
    await service.flush()
    (user, email) = await one(
        service, "SELECT id, email FROM users WHERE clerk_id = $1", caller.user
    )
    assert email == "ann@example.com"
    subscription = "SELECT plan_id, status FROM user_subscriptions WHERE user_uuid = $1"
    assert await one(service, subscription, user) == ("starter", "active")
    limit = "SELECT limit_value FROM plan_limits WHERE plan_id = 'starter' AND usage_type = $1"
    assert await one(service, limit, ANALYSES) == (5,)
    assert await one(service, "SELECT price_cents FROM plans WHERE id = 'starter'") == (3000,)
    usage = "SELECT usage_type, usage_value FROM user_usage WHERE user_uuid = $1 ORDER BY 1"
    rows = [tuple(row) for row in await service.sql(usage, user)]
    assert rows == [(ANALYSES, 2), (MINUTES, 1)]
    linked = "SELECT user_uuid FROM interview_sessions WHERE session_id = $1"
    assert await one(service, linked, session) == (user,)


async def test_plans_starter_professional_and_premium_include_what_they_did(
    service: Service,
) -> None:
    found = await plans(service)
    prices = {name: plan["price_cents"] for name, plan in found.items()}
    assert prices == {"starter": 3000, "professional": 5000, "premium": 9900}
    names = (MINUTES, INTERVIEWS, ANALYSES, REVIEWS, "advanced_analytics")
    included = {
        plan: [found[plan]["limits"].get(name) for name in names]
        for plan in ("starter", "professional", "premium")
    }
    assert included == {
        "starter": [300, 3, 5, None, None],
        "professional": [800, 10, 25, 10, None],
        "premium": [2500, -1, -1, -1, 1],
    }


async def test_minus_one_means_unlimited(service: Service) -> None:
    caller = service.caller()
    await caller.post(f"{BILLING}/init-user", {})
    subscription = {"organization_id": caller.organization, "plan_id": "premium"}
    await service.operator.post("/api/admin/subscriptions", subscription, status=201)
    question = {"usage_type": INTERVIEWS, "amount": 1_000_000}
    answer = await caller.post(f"{BILLING}/usage-check", question)
    assert (answer["allowed"], answer["unlimited"], answer["limit"]) == (True, True, None)
    access = {"usage_type": "advanced_analytics"}
    assert (await caller.post(f"{BILLING}/usage-check", access))["allowed"]


async def test_usage_types_are_rows_and_so_are_new_ones(service: Service) -> None:
    await service.sql("INSERT INTO usage_types (name, period) VALUES ('songs', 'day') RETURNING 1")
    await service.sql("INSERT INTO plan_limits VALUES ('starter', 'songs', 2) RETURNING 1")
    caller = service.caller()
    taken = [(await use(caller, songs=1))["allowed"] for _ in range(3)]
    assert taken == [True, True, False]
    summary = await caller.get(f"{BILLING}/usage-summary")
    assert {each["usage_type"] for each in summary["usages"]} >= {
        "songs",
        MINUTES,
        INTERVIEWS,
        ANALYSES,
        REVIEWS,
        "advanced_analytics",
    }


async def test_http_init_user_usage_check_track_usage_usage_summary_and_subscription_info(
    service: Service,
) -> None:
    caller = service.caller()
    made = await caller.post(f"{BILLING}/init-user", {})
    assert made["subscription"]["plan_id"] == "starter"
    body = {"usage_type": INTERVIEWS, "amount": 2}
    assert (await caller.post(f"{BILLING}/usage-check", body))["allowed"]
    assert (await caller.post(f"{BILLING}/track-usage", body))["allowed"]
    assert not (await caller.post(f"{BILLING}/usage-check", body))["allowed"]
    summary = await caller.get(f"{BILLING}/usage-summary")
    used = {each["usage_type"]: each["current_usage"] for each in summary["usages"]}
    assert (used[INTERVIEWS], used[ANALYSES]) == (2, 0)
    info = await caller.get(f"{BILLING}/subscription-info")
    assert info["subscription"] == made["subscription"]


async def test_automatic_a_new_user_gets_the_starter_plan_and_their_session_its_user(
    service: Service,
) -> None:
    """By recording alone. (That usage starts anew is shown in tests of the SQL.)"""
    async with recording(service.served, "ann") as recorder:
        started = await recorder.start(token=token("ann", "ann"))
        assert started["usage"]["limit_seconds"] == 300 * 60
        await recorder.hear(0, 0)
        await recorder.acked(0)
        await recorder.send(type="stop")
        await recorder.closed()
    await service.flush()
    owner = (
        "SELECT clerk_id FROM interview_sessions JOIN users ON users.id = user_uuid"
        " WHERE session_id = $1"
    )
    assert await one(service, owner, recorder.session_id) == ("ann",)


async def test_safety_every_route_is_authenticated_and_validated_and_takes_sql_as_text(
    service: Service,
) -> None:
    caller = service.caller("o'; DROP TABLE users; --", "ann'; DELETE FROM plans; --")
    for operation in described_operations():
        if operation.path.startswith(BILLING):
            path, method = operation.path, operation.method
            assert (await service.client.request(method, path)).status_code == 401
            if operation.takes_body:
                assert (await caller.ask(method, path, ["no object"])).status_code == 422
    await caller.post(f"{BILLING}/init-user", {})
    question = {"usage_type": "'; DROP TABLE plans; --"}
    refused = await caller.ask("POST", f"{BILLING}/usage-check", question)
    assert refused.json()["code"] == "invalid_value"
    assert len(await plans(service)) == 3
    kept = "SELECT count(*) FROM users WHERE clerk_id = $1"
    assert await one(service, kept, caller.user) == (1,)


async def test_next_step_stripe_price_ids_on_plans(service: Service) -> None:
    price = {"stripe_price_id": "price_1", "stripe_meter_event_name": "overage_minutes"}
    answer = await service.operator.ask("PATCH", "/api/admin/plans/professional", price)
    assert answer.json().items() >= price.items()
    assert (await plans(service))["professional"]["stripe_price_id"] == "price_1"
    taken = await service.operator.ask(
        "PATCH", "/api/admin/plans/premium", {"stripe_price_id": "price_1"}
    )
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    by_sql = "SELECT stripe_price_id FROM plans WHERE id = 'professional'"
    assert await one(service, by_sql) == ("price_1",)


async def test_next_step_webhooks_keep_subscriptions_in_step(paid_service: Service) -> None:
    """A customer subscribes, and a live session sees the plan within 2 seconds; so with an end."""
    service, client = paid_service, paid_service.client
    price = {"stripe_price_id": "price_pro"}
    await service.operator.ask("PATCH", "/api/admin/plans/professional", price)
    async with recording(service.served, "ann") as recorder:
        started = await recorder.start(token=token("ann", "ann"))
        assert started["usage"]["limit_seconds"] == 300 * 60
        assert await send(client, checkout("ann")) == (200, "applied")
        assert await send(client, told("created", subscription(), 1000)) == (200, "applied")
        await heard_limit(recorder, 0, 800 * 60)
        ended = told("deleted", subscription(status="canceled"), 1001)
        assert await send(client, ended) == (200, "applied")
        await heard_limit(recorder, 1, 300 * 60)


async def heard_limit(recorder: Recorder, first: int, seconds: int) -> None:
    """Within 2 seconds the session is told of the limit; on a machine busy with tests, later."""
    async with asyncio.timeout(10):
        while True:
            await recorder.hear(0, first)
            usages = [each["usage"] for each in recorder.received if "usage" in each]
            if usages[-1]["limit_seconds"] == seconds:
                return
            await asyncio.sleep(0.1)
