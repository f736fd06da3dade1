"""`/api/admin/`: what operators see and change, and that nobody else does."""

import asyncio
from typing import Any

import pytest

from tests.gateway.serving import recording, token
from tests.http.conftest import Caller, Service
from tests.http.described import described_operations

ADMIN = "/api/admin"
ORGANIZATIONS = f"{ADMIN}/organizations"
OPERATORS_ONLY = [each for each in described_operations() if each.path.startswith(ADMIN)]
PEOPLES = [each for each in described_operations() if not each.path.startswith(ADMIN)]


async def pages(caller: Caller, path: str, limit: int) -> list[Any]:
    """All items of a list, page by page."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = await caller.get(path, limit=limit, **cursor)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = {"cursor": page["next_cursor"]}


def filled(path: str) -> str:
    """A path with something in its braces."""
    for name in ("organization_id", "user_id", "plan_id", "subscription_id", "session_id"):
        path = path.replace("{" + name + "}", "1")
    return path


# Organizations and members ----------------------------------------------------------------------


async def test_organizations_are_made_read_and_changed(service: Service) -> None:
    operator = service.operator
    body = {"id": "órg/1", "name": "Ørg", "monthly_audio_hours_limit": 10, "time_zone": "UTC"}
    made = await operator.post(ORGANIZATIONS, body, status=201)
    assert (made["limit_seconds"], made["plan_id"], made["members"]) == (36_000, None, 0)
    again = await operator.ask("POST", ORGANIZATIONS, body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    await operator.post(ORGANIZATIONS, {"id": "acme"}, status=201)
    changed = await operator.ask("PATCH", f"{ORGANIZATIONS}/acme", {"time_zone": "Asia/Tokyo"})
    assert changed.json()["time_zone"] == "Asia/Tokyo"
    assert await operator.get(f"{ORGANIZATIONS}/acme") == changed.json()
    unlimited = {"monthly_audio_hours_limit": -1}
    changed = await operator.ask("PATCH", f"{ORGANIZATIONS}/acme", unlimited)
    assert changed.json()["monthly_audio_hours_limit"] == -1
    assert changed.json()["limit_seconds"] is None
    for path, change in (("nobody", {}), ("acme", {"time_zone": "Moon/Base"})):
        answer = await operator.ask("PATCH", f"{ORGANIZATIONS}/{path}", change)
        assert answer.status_code == (404 if path == "nobody" else 422)


async def test_lists_are_paged_and_nothing_is_missed(service: Service) -> None:
    operator = service.operator
    names = [f"org-{number:02}" for number in range(11)]
    for name in names:
        await operator.post(ORGANIZATIONS, {"id": name}, status=201)
    for limit in (1, 3, 11, 500):
        found = await pages(operator, ORGANIZATIONS, limit)
        assert [each["id"] for each in found] == names
    first = await operator.get(ORGANIZATIONS, limit=4)
    await operator.post(ORGANIZATIONS, {"id": "org-00x"}, status=201)
    rest = await operator.get(ORGANIZATIONS, limit=500, cursor=first["next_cursor"])
    assert [each["id"] for each in rest["items"]] == names[4:]


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 501}, {"limit": "x"}, {"cursor": "!"}, {"cursor": "0"}],
    ids=str,
)
async def test_a_wrong_page_is_a_bad_request(service: Service, query: dict[str, object]) -> None:
    response = await service.operator.ask("GET", ORGANIZATIONS, params=query)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


async def test_members_are_put_listed_and_removed(service: Service) -> None:
    operator, path = service.operator, f"{ORGANIZATIONS}/acme/members"
    assert (await operator.ask("PUT", f"{path}/ann", {})).status_code == 404
    await operator.post(ORGANIZATIONS, {"id": "acme"}, status=201)
    for name in ("ann", "bob", "cyd"):
        await operator.ask("PUT", f"{path}/{name}", {"monthly_audio_hours_limit": 1.5})
    changed = await operator.ask("PUT", f"{path}/bob", {})
    assert changed.json()["monthly_audio_hours_limit"] is None
    found = await pages(operator, path, 2)
    assert [(each["user_id"], each["limit_seconds"]) for each in found] == [
        ("ann", 5400),
        ("bob", None),
        ("cyd", 5400),
    ]
    assert (await operator.ask("DELETE", f"{path}/bob")).status_code == 204
    assert (await operator.ask("DELETE", f"{path}/bob")).status_code == 404
    assert (await operator.get(f"{ORGANIZATIONS}/acme"))["members"] == 2


async def test_a_limit_reaches_live_sessions_within_two_seconds(service: Service) -> None:
    async with recording(service.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"))
        await recorder.hear(0, 1)
        await recorder.acked(0)
        path = f"{ORGANIZATIONS}/acme/limits"
        answer = await service.operator.ask("PUT", path, {"limit_seconds": -1})
        assert answer.json()["limit_seconds"] is None
        answer = await service.operator.ask("PUT", path, {"limit_seconds": 0})
        assert answer.json()["limit_seconds"] == 0
        assert (await recorder.one("stop", 3.0))["reason"] == "limit_reached"
    members = await service.operator.ask("PUT", path, {"limit_seconds": 90, "user_id": "ann"})
    assert members.json()["limit_seconds"] == 90
    assert (await service.operator.get(path, user_id="ann"))["remaining_seconds"] == 90


# Plans, subscriptions, adjustments --------------------------------------------------------------


async def test_plans_are_made_read_and_changed(service: Service) -> None:
    operator, path = service.operator, f"{ADMIN}/plans"
    limits = {"minutes_per_month": 100, "interviews_per_day": -1}
    made = await operator.post(path, {"id": "gold", "name": "Gold", "limits": limits}, status=201)
    assert (made["limits"], made["billing_increment"]) == (limits, "60/60")
    change = {
        "price_cents": 1234,
        "limits": {"interviews_per_day": None, "minutes_per_month": 200},
        "warn_minutes_remaining": [3, 2],
        "max_session_seconds": 600,
    }
    changed = (await operator.ask("PATCH", f"{path}/gold", change)).json()
    assert (changed["price_cents"], changed["limits"]) == (1234, {"minutes_per_month": 200})
    assert (changed["warn_minutes_remaining"], changed["name"]) == ([3, 2], "Gold")
    assert (await operator.get(f"{path}/gold")) == changed
    defaults = (await operator.ask("PATCH", f"{path}/gold", {"is_default": True})).json()
    assert defaults["is_default"]
    assert not (await operator.get(f"{path}/starter"))["is_default"]
    assert [each["id"] for each in await pages(operator, path, 1)] == [
        "gold",
        "premium",
        "professional",
        "starter",
    ]
    for body in ({"id": "gold", "name": "G"}, {"id": "g", "name": "Gold"}):
        answer = await operator.ask("POST", path, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    wrong = await operator.ask("PATCH", f"{path}/gold", {"limits": {"songs": 1}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_value")
    assert (await operator.ask("GET", f"{path}/tin")).status_code == 404


async def test_a_subscription_takes_the_place_of_the_one_before(service: Service) -> None:
    operator, path = service.operator, f"{ADMIN}/subscriptions"
    first = await operator.post(path, {"organization_id": "acme", "plan_id": "starter"}, status=201)
    second = await operator.post(
        path,
        {"organization_id": "acme", "plan_id": "premium", "billing_cycle": "anniversary"},
        status=201,
    )
    ended = await operator.get(f"{path}/{first['id']}")
    assert (ended["status"], ended["ended_at"] is None) == ("canceled", False)
    present = await service.caller("acme").get("/api/billing/subscription-info")
    assert present["subscription"]["plan_id"] == "premium"
    changed = await operator.ask("PATCH", f"{path}/{second['id']}", {"plan_id": "professional"})
    assert changed.json()["plan_id"] == "professional"
    changed = await operator.ask("PATCH", f"{path}/{second['id']}", {"status": "canceled"})
    assert changed.json()["ended_at"] is not None
    again = await operator.ask("PATCH", f"{path}/{second['id']}", {"status": "active"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    listed = await operator.get(path, organization_id="acme")
    assert [each["id"] for each in listed["items"]] == [second["id"], first["id"]]
    assert (await operator.ask("GET", f"{path}/{2**62}")).status_code == 404


async def test_an_adjustment_is_in_used_and_remaining_at_once(service: Service) -> None:
    operator, caller = service.operator, service.caller("acme", "ann")
    await operator.ask("PUT", f"{ORGANIZATIONS}/acme/limits", {"limit_seconds": 600})
    await caller.get("/api/usage/check-limit")
    body = {
        "organization_id": "acme",
        "seconds": 120,
        "reason": "a call by phone",
        "user_id": "ann",
    }
    made = await operator.post(f"{ADMIN}/adjustments", body, status=201)
    assert (made["author"], made["reason"], made["user_id"]) == ("olga", "a call by phone", "ann")
    async with asyncio.timeout(3):
        while (await caller.get("/api/usage/check-limit"))["remaining_seconds"] != 480:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    month = await caller.get("/api/usage/current-month")
    assert (month["used_seconds"], month["adjusted_seconds"]) == (120, 120)
    await operator.post(f"{ADMIN}/adjustments", {**body, "seconds": -20}, status=201)
    listed = await operator.get(f"{ADMIN}/adjustments", organization_id="acme", user_id="ann")
    assert [each["seconds"] for each in listed["items"]] == [-20, 120]
    for wrong in ({"seconds": 0}, {"reason": " "}, {"organization_id": "nobody"}):
        answer = await operator.ask("POST", f"{ADMIN}/adjustments", {**body, **wrong})
        assert answer.status_code == 422


# Who may ----------------------------------------------------------------------------------------


async def test_nobody_but_operators_may(service: Service) -> None:
    member = service.caller("acme", "ann", "record usage")
    for operation in OPERATORS_ONLY:
        answer = await member.ask(operation.method, filled(operation.path), {})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), operation.name
        assert "admin" in answer.headers["www-authenticate"]


async def test_an_operators_token_is_no_users(service: Service) -> None:
    for operation in PEOPLES:
        answer = await service.operator.ask(operation.method, filled(operation.path), {})
        assert answer.status_code == 403, operation.name


async def test_nothing_is_answered_without_a_token(service: Service) -> None:
    for operation in OPERATORS_ONLY + PEOPLES:
        answer = await service.client.request(operation.method, filled(operation.path))
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing"), operation.name


async def test_a_tenant_sees_nothing_of_another(service: Service) -> None:
    """Whatever a caller asks for, it is of the token's organization and user."""
    ann = service.caller("acme", "ann")
    await ann.post("/api/billing/track-usage", {"usages": {"minutes_per_month": 7}})
    await ann.post("/api/profile/chats", {"title": "acme's secret"}, status=201)
    await service.flush()
    other = service.caller("globex", "bob")
    named = {"organization_id": "acme", "user_id": "ann", "org_id": "acme"}
    for operation in PEOPLES:
        if operation.method == "GET" and "{" not in operation.path:
            answer = await other.ask("GET", operation.path, params=named)
            assert answer.status_code == 200, answer.text
            assert "acme" not in answer.text, operation.name
    month = await other.get("/api/usage/current-month", daily="true", **named)
    assert (month["used_seconds"], month["daily_breakdown"]) == (0, [])
    stats = await other.get("/api/users/stats-v2", **named)
    assert (stats["lifetime"]["total_seconds"], stats["user_id"]) == (0, "bob")
