"""`Idempotency-Key`: a write is made once, however often and at how many places it is asked for."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx

from tests.http.conftest import Caller, Service
from tests.http.described import described_operations

USE = "/api/billing/track-usage"
ONE_INTERVIEW = {"usage_type": "interviews_per_day"}


async def uses(service: Service, caller: Caller) -> int:
    rows = await service.sql(
        "SELECT coalesce(sum(amount), 0) FROM feature_events WHERE user_id = $1", caller.user
    )
    return int(rows[0][0])


def code(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["code"])


async def test_the_same_key_and_body_replays_the_answer(service: Service) -> None:
    caller = service.caller()
    first = await caller.ask("POST", USE, ONE_INTERVIEW, key="k")
    again = await caller.ask("POST", USE, ONE_INTERVIEW, key="k")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await uses(service, caller) == 1
    await caller.ask("POST", USE, ONE_INTERVIEW)
    assert await uses(service, caller) == 2


async def test_the_same_key_with_another_body_is_a_conflict(service: Service) -> None:
    caller = service.caller()
    await caller.post(USE, ONE_INTERVIEW, key="k")
    other = await caller.ask("POST", USE, {**ONE_INTERVIEW, "amount": 2}, key="k")
    assert (other.status_code, code(other)) == (409, "idempotency_key_reused")
    assert await uses(service, caller) == 1


async def test_twenty_at_once_have_one_effect(service: Service) -> None:
    caller = service.caller()
    answers = await asyncio.gather(
        *(caller.ask("POST", USE, ONE_INTERVIEW, key="k") for _ in range(20))
    )
    good = [answer for answer in answers if answer.status_code == 200]
    busy = [answer for answer in answers if answer.status_code != 200]
    assert good
    assert len({answer.content for answer in good}) == 1
    for answer in busy:
        assert (answer.status_code, code(answer)) == (409, "idempotency_key_in_use")
        assert int(answer.headers["retry-after"]) > 0
    assert await uses(service, caller) == 1
    assert (await caller.ask("POST", USE, ONE_INTERVIEW, key="k")).content == good[0].content


async def test_a_key_is_a_callers_own_and_a_routes(service: Service) -> None:
    ours, theirs = service.caller("acme", "ann"), service.caller("acme", "bob")
    elsewhere = service.caller("globex", "ann")
    for caller in (ours, theirs, elsewhere):
        await caller.post(USE, ONE_INTERVIEW, key="k")
    rows = await service.sql("SELECT count(*) FROM feature_events")
    assert rows[0][0] == 3
    await ours.post("/api/billing/init-user", {}, key="k")


async def test_what_was_refused_may_be_tried_again_with_its_key(service: Service) -> None:
    operator = service.operator
    await service.organization("acme")
    subscription = {"organization_id": "acme", "plan_id": "gold"}
    refused = await operator.ask("POST", "/api/admin/subscriptions", subscription, key="k")
    assert (refused.status_code, code(refused)) == (422, "invalid_value")
    await operator.post("/api/admin/plans", {"id": "gold", "name": "Gold"}, status=201)
    await operator.post("/api/admin/subscriptions", subscription, status=201, key="k")
    again = await operator.post("/api/admin/subscriptions", subscription, status=201, key="k")
    assert again["plan_id"] == "gold"
    rows = await service.sql("SELECT count(*) FROM user_subscriptions")
    assert rows[0][0] == 1


async def test_the_answer_is_committed_with_the_change_it_is_of(service: Service) -> None:
    operator = service.operator
    adjustment = {"organization_id": "acme", "seconds": -60, "reason": "an outage"}
    await operator.post("/api/admin/organizations", {"id": "acme"}, status=201)
    await asyncio.gather(
        *(operator.ask("POST", "/api/admin/adjustments", adjustment, key="k") for _ in range(5))
    )
    rows = await service.sql(
        "SELECT (SELECT count(*) FROM usage_adjustments),"
        " (SELECT count(*) FROM idempotency_keys WHERE xmin ="
        " (SELECT xmin FROM usage_adjustments LIMIT 1))"
    )
    assert tuple(rows[0]) == (1, 1)


async def test_a_key_holds_for_a_day_and_goes_then(service: Service) -> None:
    caller = service.caller()
    await caller.post(USE, ONE_INTERVIEW, key="old")
    await caller.post(USE, ONE_INTERVIEW, key="older")
    await service.sql(
        "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' RETURNING 1"
    )
    await caller.post(USE, ONE_INTERVIEW, key="old")
    assert await uses(service, caller) == 3
    rows = await service.sql("SELECT idempotency_key FROM idempotency_keys")
    assert [row[0] for row in rows] == ["old"]


async def test_a_minute_and_a_stop_take_keys_too(service: Service) -> None:
    caller = service.caller()
    minute = {
        "session_id": str(uuid4()),
        "seconds_recorded": 60,
        "minute_timestamp": int(time.time()) - 60,
    }
    first = await caller.post("/api/usage/track-minute", minute, key="k")
    assert await caller.post("/api/usage/track-minute", minute, key="k") == first
    assert first["seconds_new"] == 60
    path = f"/api/admin/sessions/{minute['session_id']}/stop"
    ended = await service.operator.post(path, key="k")
    assert await service.operator.post(path, key="k") == ended


async def test_a_key_that_is_none_is_a_bad_request(service: Service) -> None:
    caller = service.caller()
    for key in ("", "two words", "x" * 256):
        response = await caller.ask("POST", USE, ONE_INTERVIEW, key=key)
        assert (response.status_code, code(response)) == (400, "bad_request")
    assert await uses(service, caller) == 0


ACME = "/api/admin/organizations/acme"


# What makes a body another one that is as good. (Where none is taken, any.)
CHANGES: dict[str, dict[str, object]] = {
    "trackMinute": {"seconds_recorded": 31},
    "initUser": {"email": "bob@example.com"},
    "trackUsage": {"amount": 2},
    "beginChat": {"title": "b"},
    "endResponse": {"completion_status": "abandoned"},
    "createOrganization": {"name": "Globex"},
    "changeOrganization": {"name": "Apex"},
    "putMember": {"monthly_audio_hours_limit": 2},
    "setLimit": {"limit_seconds": 61},
    "createPlan": {"price_cents": 1},
    "changePlan": {"price_cents": 2},
    "createSubscription": {"plan_id": "premium"},
    "changeSubscription": {"billing_cycle": "calendar"},
    "createAdjustment": {"seconds": 61},
}


async def writes(service: Service) -> dict[str, tuple[Caller, str, str, Any, Any]]:
    """By operation: who asks, how, and with which body, and another one for the same path."""
    operator, caller = service.operator, service.caller()
    await service.limit("acme", 600)
    await operator.ask("PUT", ACME + "/members/bob", {})
    await operator.post("/api/admin/plans", {"id": "tin", "name": "Tin"}, status=201)
    starter = {"organization_id": "acme", "plan_id": "starter"}
    subscription = await operator.post("/api/admin/subscriptions", starter, status=201)
    chat = await caller.post("/api/profile/chats", {}, status=201)
    responses = f"/api/profile/chats/{chat['id']}/responses"
    response = await caller.post(responses, status=201)
    minute = {
        "session_id": str(uuid4()),
        "seconds_recorded": 30,
        "minute_timestamp": int(time.time()) - 120,
    }
    session = {**minute, "session_id": str(uuid4())}
    await caller.post("/api/usage/track-minute", session)
    adjustment = {"organization_id": "acme", "seconds": 60, "reason": "an outage"}
    stop = f"/api/admin/sessions/{session['session_id']}/stop"
    paths = {
        "trackMinute": (caller, "POST", "/api/usage/track-minute", minute),
        "initUser": (caller, "POST", "/api/billing/init-user", {"email": "ann@example.com"}),
        "trackUsage": (caller, "POST", USE, ONE_INTERVIEW),
        "beginChat": (caller, "POST", "/api/profile/chats", {"title": "a"}),
        "beginResponse": (caller, "POST", responses, None),
        "endResponse": (
            caller,
            "PATCH",
            f"/api/profile/responses/{response['id']}",
            {"completion_status": "completed"},
        ),
        "createOrganization": (operator, "POST", "/api/admin/organizations", {"id": "globex"}),
        "changeOrganization": (operator, "PATCH", ACME, {"name": "Acme"}),
        "putMember": (operator, "PUT", ACME + "/members/ann", {"monthly_audio_hours_limit": 1}),
        "removeMember": (operator, "DELETE", ACME + "/members/bob", None),
        "setLimit": (operator, "PUT", ACME + "/limits", {"limit_seconds": 60}),
        "createPlan": (operator, "POST", "/api/admin/plans", {"id": "gold", "name": "Gold"}),
        "changePlan": (operator, "PATCH", "/api/admin/plans/tin", {"price_cents": 1}),
        "createSubscription": (operator, "POST", "/api/admin/subscriptions", starter),
        "changeSubscription": (
            operator,
            "PATCH",
            f"/api/admin/subscriptions/{subscription['id']}",
            {"billing_cycle": "anniversary"},
        ),
        "createAdjustment": (operator, "POST", "/api/admin/adjustments", adjustment),
        "stopSession": (operator, "POST", stop, None),
    }
    return {name: (*each, CHANGES.get(name, {"other": True})) for name, each in paths.items()}


async def test_every_write_takes_a_key_and_is_made_once_with_it(service: Service) -> None:
    asked = await writes(service)
    assert asked.keys() == {each.name for each in described_operations() if each.writes}
    # A subscription that another one took the place of is not to be changed.
    later = {"createSubscription": 1}
    for name in sorted(asked, key=lambda each: later.get(each, 0)):
        caller, method, path, body, more = asked[name]
        first = await caller.ask(method, path, body, key=name)
        assert first.is_success, (name, first.text)
        again = await caller.ask(method, path, body, key=name)
        assert (again.status_code, again.content) == (first.status_code, first.content), name
        assert again.headers["idempotency-replayed"] == "true", name
        other = await caller.ask(method, path, {**(body or {}), **more}, key=name)
        assert (other.status_code, code(other)) == (409, "idempotency_key_reused"), name
    counts = await service.sql(
        "SELECT (SELECT count(*) FROM usage_adjustments), (SELECT count(*) FROM chat_instances),"
        " (SELECT count(*) FROM chat_responses), (SELECT count(*) FROM user_subscriptions"
        " WHERE organization_id = 'acme')"
    )
    assert tuple(counts[0]) == (1, 2, 2, 2)
