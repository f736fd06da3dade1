"""`/api/billing` and `/api/profile`: the calls of the billing database, and of profiles."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.http.conftest import Caller, Service

BILLING = "/api/billing"
INTERVIEWS = "interviews_per_day"


async def plan(service: Service, **limits: int) -> None:
    """A plan with these limits becomes that of new users."""
    body = {"id": "ours", "name": "Ours", "is_default": True, "limits": limits}
    await service.operator.post("/api/admin/plans", body, status=201)


async def use(caller: Caller, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await caller.post(f"{BILLING}/track-usage", body)
    return answer


async def test_init_user_makes_the_user_with_the_starter_plan_once(service: Service) -> None:
    caller = service.caller()
    first = await caller.post(f"{BILLING}/init-user", {"email": "ann@example.com"})
    assert (first["user_id"], first["email"]) == (caller.user, "ann@example.com")
    assert first["subscription"]["plan_id"] == "starter"
    assert await caller.post(f"{BILLING}/init-user", {}) == first
    rows = await service.sql("SELECT count(*) FROM users WHERE clerk_id = $1", caller.user)
    assert rows[0][0] == 1


async def test_usage_check_says_how_a_type_stands(service: Service) -> None:
    caller = service.caller()
    await caller.post(f"{BILLING}/init-user", {})
    asked = {"usage_type": INTERVIEWS, "amount": 3}
    answer = await caller.post(f"{BILLING}/usage-check", asked)
    assert (answer["allowed"], answer["limit"], answer["remaining"]) == (True, 3, 3)
    answer = await caller.post(f"{BILLING}/usage-check", {**asked, "amount": 4})
    assert not answer["allowed"]
    unknown = await caller.ask("POST", f"{BILLING}/usage-check", {"usage_type": "songs"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_value")


@pytest.mark.parametrize("amount", [1.5, 0.001, 2.0000001])
async def test_only_minutes_have_parts(service: Service, amount: float) -> None:
    caller = service.caller()
    question = {"usage_type": INTERVIEWS, "amount": amount}
    several = {"usages": {INTERVIEWS: amount, "minutes_per_month": 1}}
    for path, body in (
        ("usage-check", question),
        ("track-usage", question),
        ("track-usage", several),
    ):
        answer = await caller.ask("POST", f"{BILLING}/{path}", body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")
    whole = {"usage_type": INTERVIEWS, "amount": 2.0}
    assert (await caller.post(f"{BILLING}/usage-check", whole))["allowed"]
    assert (await caller.get("/api/usage/check-limit"))["used_seconds"] == 0


async def test_track_usage_takes_until_nothing_is_left(service: Service) -> None:
    caller = service.caller()
    assert (await use(caller, usage_type=INTERVIEWS, amount=2))["allowed"]
    refused = await use(caller, usage_type=INTERVIEWS, amount=2)
    assert not refused["allowed"]
    assert refused["usages"][0]["used"] == 2
    assert (await use(caller, usage_type=INTERVIEWS))["allowed"]


async def test_a_hundred_at_once_take_what_is_there(service: Service) -> None:
    await plan(service, **{INTERVIEWS: 10})
    caller = service.caller()
    await caller.post(f"{BILLING}/init-user", {})
    answers = await asyncio.gather(*(use(caller, usage_type=INTERVIEWS) for _ in range(100)))
    assert sum(answer["allowed"] for answer in answers) == 10
    rows = await service.sql("SELECT sum(amount) FROM feature_events")
    assert rows[0][0] == 10


async def test_several_usages_are_all_taken_or_none(service: Service) -> None:
    caller = service.caller()
    usages = {INTERVIEWS: 1, "video_review_per_month": 1}
    refused = await use(caller, usages=usages)  # the starter plan has no video reviews
    assert not refused["allowed"]
    assert {each["used"] for each in refused["usages"]} == {0}
    taken = await use(caller, usages={INTERVIEWS: 1, "minutes_per_month": 1.5})
    assert taken["allowed"]
    await service.flush()
    rows = await service.sql("SELECT sum(seconds_recorded) FROM usage_tracking")
    assert rows[0][0] == 90


async def test_minutes_that_were_tracked_as_a_number_reach_the_ledger(service: Service) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    await caller.get("/api/usage/check-limit")
    await use(caller, usage_type="minutes_per_month", amount=2)
    assert (await caller.get("/api/usage/check-limit"))["used_seconds"] == 120
    asked = {"usage_type": "minutes_per_month", "amount": 298}
    assert (await caller.post(f"{BILLING}/usage-check", asked))["allowed"]
    answer = await caller.post(f"{BILLING}/usage-check", {**asked, "amount": 298.1})
    assert (answer["allowed"], answer["current_usage"], answer["remaining"]) == (False, 2, 298)


async def test_minutes_at_once_take_what_is_there_and_with_features_all_or_none(
    service: Service,
) -> None:
    await plan(service, minutes_per_month=5, interviews_per_day=20)
    caller = service.caller()
    await service.calm(caller.organization)
    usages = {INTERVIEWS: 1, "minutes_per_month": 1}
    answers = await asyncio.gather(*(use(caller, usages=usages) for _ in range(12)))
    assert sum(answer["allowed"] for answer in answers) == 5
    await service.flush()
    rows = await service.sql(
        "SELECT (SELECT sum(seconds_recorded) FROM usage_tracking),"
        " (SELECT sum(amount) FROM feature_events)"
    )
    assert tuple(rows[0]) == (300, 5)


async def test_minutes_with_a_key_are_recorded_once(service: Service) -> None:
    caller = service.caller()
    body = {"usage_type": "minutes_per_month", "amount": 2}
    for _ in range(3):
        assert (await caller.post(f"{BILLING}/track-usage", body, key="k"))["allowed"]
        await service.flush()
    # As when the gateway died after the ledger had counted, and before the answer was kept.
    await service.sql("DELETE FROM idempotency_keys RETURNING 1")
    assert (await caller.post(f"{BILLING}/track-usage", body, key="k"))["allowed"]
    await service.flush()
    rows = await service.sql("SELECT sum(seconds_recorded) FROM usage_tracking")
    assert rows[0][0] == 120


async def test_a_call_names_one_usage_or_several(service: Service) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"usage_type": INTERVIEWS, "usages": {INTERVIEWS: 1}},
        {"usages": {}},
    ]
    for body in bodies:
        response = await service.caller().ask("POST", f"{BILLING}/track-usage", body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_body")


async def test_summary_and_subscription_answer_get_and_post(service: Service) -> None:
    caller = service.caller()
    await caller.post(f"{BILLING}/init-user", {})
    summary = await caller.get(f"{BILLING}/usage-summary")
    by_type = {each["usage_type"]: each for each in summary["usages"]}
    assert by_type["minutes_per_month"]["limit"] == 300
    assert by_type["advanced_analytics"]["limit"] == 0
    assert await caller.post(f"{BILLING}/usage-summary") == summary
    info = await caller.get(f"{BILLING}/subscription-info")
    assert (info["subscription"]["plan_name"], info["subscription"]["status"]) == (
        "Starter",
        "active",
    )
    assert await caller.post(f"{BILLING}/subscription-info") == info
    other = await service.caller("acme").get(f"{BILLING}/subscription-info")
    assert other == {"subscription": None}


# Profiles ----------------------------------------------------------------------------------------


async def test_credits_are_used_up_by_chats_and_responses(service: Service) -> None:
    await plan(service, chat_instances=2, chat_responses_per_month=3)
    caller = service.caller()
    fresh = await caller.get("/api/profile/credits")
    assert (fresh["chat_instances_available"], fresh["responses_available"]) == (2, 3)
    chat = await caller.post("/api/profile/chats", {"title": "one"}, status=201)
    path = f"/api/profile/chats/{chat['id']}/responses"
    for _ in range(3):
        await caller.post(path, status=201)
    full = await caller.ask("POST", path)
    assert (full.status_code, full.json()["code"]) == (403, "limit_reached")
    used = await caller.get("/api/profile/credits")
    assert (used["responses_used_total"], used["responses_used_this_month"]) == (3, 3)
    assert (used["responses_available"], used["monthly_responses_quota"]) == (0, 3)
    assert (used["chat_instances_used"], used["chat_instances_available"]) == (1, 1)


async def test_a_response_ends_once(service: Service) -> None:
    caller = service.caller()
    chat = await caller.post("/api/profile/chats", {}, status=201)
    begun = await caller.post(f"/api/profile/chats/{chat['id']}/responses", status=201)
    assert (begun["session_end"], begun["total_minutes"]) == (None, None)
    path = f"/api/profile/responses/{begun['id']}"
    ended = await caller.ask("PATCH", path, {"completion_status": "completed"})
    assert ended.json()["completion_status"] == "completed"
    again = await caller.ask("PATCH", path, {"completion_status": "completed"})
    assert again.json() == ended.json()
    rows = await caller.get(f"/api/profile/chats/{chat['id']}/responses")
    assert rows["items"] == [ended.json()]


async def test_a_response_that_has_ended_stays_as_it_ended(service: Service) -> None:
    caller = service.caller()
    chat = await caller.post("/api/profile/chats", {}, status=201)
    paths = [
        f"/api/profile/responses/{each['id']}"
        for each in [
            await caller.post(f"/api/profile/chats/{chat['id']}/responses", status=201)
            for _ in range(2)
        ]
    ]
    for path, first in zip(paths, ("completed", "abandoned"), strict=True):
        goes_on = await caller.ask("PATCH", path, {"completion_status": "in_progress"})
        assert (goes_on.status_code, goes_on.json()["session_end"]) == (200, None)
        ended = await caller.ask("PATCH", path, {"completion_status": first})
        for other in ("in_progress", "completed", "abandoned"):
            answer = await caller.ask("PATCH", path, {"completion_status": other})
            if other == first:
                assert answer.json() == ended.json()
            else:
                assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    rows = await caller.get(f"/api/profile/chats/{chat['id']}/responses")
    assert [each["completion_status"] for each in rows["items"]] == ["abandoned", "completed"]


async def test_one_of_two_ends_at_once_holds(service: Service) -> None:
    caller = service.caller()
    chat = await caller.post("/api/profile/chats", {}, status=201)
    for _ in range(5):
        begun = await caller.post(f"/api/profile/chats/{chat['id']}/responses", status=201)
        path = f"/api/profile/responses/{begun['id']}"
        answers = await asyncio.gather(
            *(
                caller.ask("PATCH", path, {"completion_status": status})
                for status in ("completed", "abandoned")
            )
        )
        assert sorted(each.status_code for each in answers) == [200, 409]


async def test_chats_are_paged_the_last_one_first(service: Service) -> None:
    caller = service.caller()
    made = [
        (await caller.post("/api/profile/chats", {"title": str(number)}, status=201))["id"]
        for number in range(5)
    ]
    listed: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await caller.get("/api/profile/chats", limit=2, **cursor)
        listed += [chat["id"] for chat in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert listed == made[::-1]


async def test_an_overview_has_membership_and_minutes(service: Service) -> None:
    caller = service.caller()
    await service.calm(caller.organization)
    answer = await caller.get("/api/profile/overview")
    assert (answer["membership"], answer["monthly_minutes_allocation"]) == ("starter", 300)
    await use(caller, usage_type="minutes_per_month", amount=2)
    await service.flush()
    answer = await caller.get("/api/profile/overview")
    assert (answer["total_minutes"], answer["minutes_remaining"]) == (2, 298)


async def test_what_is_another_users_is_not_there(service: Service) -> None:
    ann, bob = service.caller("acme", "ann"), service.caller("acme", "bob")
    chat = await ann.post("/api/profile/chats", {"title": "secret"}, status=201)
    path = f"/api/profile/chats/{chat['id']}/responses"
    response = await ann.post(path, status=201)
    assert (await bob.ask("POST", path)).status_code == 404
    assert (await bob.ask("GET", path)).status_code == 404
    assert (await bob.get("/api/profile/chats"))["items"] == []
    change = {"completion_status": "abandoned"}
    for identity in (response["id"], str(uuid4())):
        answer = await bob.ask("PATCH", f"/api/profile/responses/{identity}", change)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
