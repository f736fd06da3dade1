"""Which organizations and plans operators can make, and which they find."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from tests.http.conftest import Service

ADMIN = "/api/admin"
ORGANIZATIONS = f"{ADMIN}/organizations"


async def recorded(service: Service, organization: str) -> None:
    """An organization that nobody made: somebody recorded a minute with a token that names it."""
    caller = service.caller(organization, "ann")
    await caller.post("/api/billing/track-usage", {"usages": {"minutes_per_month": 1}})
    await service.flush()
    assert await service.sql("SELECT * FROM organizations") == []


async def test_who_only_recorded_is_found_by_operators(service: Service) -> None:
    await recorded(service, "ghost")
    limit = await service.operator.get(f"{ORGANIZATIONS}/ghost/limits")
    assert (limit["used_seconds"], limit["limit_seconds"]) == (60, None)
    found = await service.operator.get(f"{ORGANIZATIONS}/ghost")
    assert (found["id"], found["limit_seconds"], found["time_zone"]) == ("ghost", None, "UTC")
    assert (await service.operator.get(f"{ORGANIZATIONS}/ghost/members"))["items"] == []
    listed = await service.operator.get(ORGANIZATIONS)
    assert [each["id"] for each in listed["items"]] == ["ghost"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"{ORGANIZATIONS}/ghost/limits", {"limit_seconds": 90}),
        ("PUT", f"{ORGANIZATIONS}/ghost/members/ann", {"monthly_audio_hours_limit": 1}),
        ("PATCH", f"{ORGANIZATIONS}/ghost", {"name": "Ghost"}),
        ("POST", f"{ADMIN}/adjustments", {"organization_id": "ghost", "seconds": 1, "reason": "x"}),
        ("POST", f"{ADMIN}/subscriptions", {"organization_id": "ghost", "plan_id": "starter"}),
    ],
)
async def test_who_only_recorded_can_be_changed(
    service: Service, method: str, path: str, body: dict[str, object]
) -> None:
    await recorded(service, "ghost")
    answer = await service.operator.ask(method, path, body)
    assert answer.is_success, answer.text
    assert (await service.operator.get(f"{ORGANIZATIONS}/ghost/limits"))["used_seconds"] >= 60


async def test_what_nobody_knows_has_no_limits(service: Service) -> None:
    for query in ("", "?user_id=ann"):
        answer = await service.operator.ask("GET", f"{ORGANIZATIONS}/nobody/limits{query}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await service.sql("SELECT * FROM organizations") == []


@pytest.mark.parametrize("wrong", [" ", ".", "..", "a/b", "/", " a", "a ", "a\n", "\t", "\x7f"])
async def test_no_id_is_made_that_no_path_can_name(service: Service, wrong: str) -> None:
    for path, body in (
        (ORGANIZATIONS, {"id": wrong}),
        (f"{ADMIN}/plans", {"id": wrong, "name": "Odd"}),
    ):
        answer = await service.operator.ask("POST", path, body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")
        assert "slash" in answer.json()["detail"]


@pytest.mark.parametrize("good", ["a b", "...", "órg", "%2F", "a?b#c", "a\\b", "=1", "-"])
async def test_every_id_that_is_made_can_be_asked_for(service: Service, good: str) -> None:
    await service.operator.post(ORGANIZATIONS, {"id": good}, status=201)
    found = await service.operator.get(f"{ORGANIZATIONS}/{quote(good, safe='')}")
    assert found["id"] == good
    await service.operator.post(f"{ADMIN}/plans", {"id": good, "name": "Odd"}, status=201)
    assert (await service.operator.get(f"{ADMIN}/plans/{quote(good, safe='')}"))["id"] == good


async def test_many_plans_made_the_default_one_at_once_are_one_after_the_other(
    service: Service,
) -> None:
    plans = [f"plan-{number}" for number in range(6)]
    for plan in plans:
        await service.operator.post(f"{ADMIN}/plans", {"id": plan, "name": plan}, status=201)

    async def make_default(plan: str) -> httpx.Response:
        return await service.operator.ask("PATCH", f"{ADMIN}/plans/{plan}", {"is_default": True})

    for _ in range(5):
        answers = await asyncio.gather(*(make_default(plan) for plan in plans))
        assert [each.status_code for each in answers] == [200] * len(plans), [
            each.text for each in answers
        ]
        assert len(await service.sql("SELECT FROM plans WHERE is_default")) == 1


async def test_a_cursor_is_of_what_was_asked_for_alone(service: Service) -> None:
    for name in ("acme", "apex"):
        await service.organization(name)
        for member in ("ann", "bob"):
            await service.operator.ask("PUT", f"{ORGANIZATIONS}/{name}/members/{member}", {})
            adjustment = {"organization_id": name, "seconds": 1, "reason": "a list"}
            await service.operator.post(f"{ADMIN}/adjustments", adjustment, status=201)
    members = f"{ORGANIZATIONS}/acme/members"
    cursor = (await service.operator.get(members, limit=1))["next_cursor"]
    assert await service.operator.get(members, limit=5, cursor=cursor)
    other = await service.operator.ask("GET", members.replace("acme", "apex") + f"?cursor={cursor}")
    assert (other.status_code, other.json()["code"]) == (400, "bad_request")
    path, ours = f"{ADMIN}/adjustments", {"organization_id": "acme"}
    cursor = (await service.operator.get(path, limit=1, **ours))["next_cursor"]
    assert await service.operator.get(path, cursor=cursor, **ours)
    for query in ({}, {"organization_id": "apex"}, {**ours, "user_id": "ann"}):
        other = await service.operator.ask("GET", path, params={**query, "cursor": cursor})
        assert (other.status_code, other.json()["code"]) == (400, "bad_request")
