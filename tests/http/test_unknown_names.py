"""Names that aren't known: a slip of the pen is told, and changes nothing."""

from typing import Any

import pytest

from gateway.http.operations import Nothing
from tests.http.conftest import Service
from tests.http.described import described_operations

ADMIN = "/api/admin"
ACME = f"{ADMIN}/organizations/acme"
OPERATIONS = described_operations()

BODIES: list[tuple[str, str, dict[str, Any], str]] = [
    ("PUT", f"{ACME}/members/bob", {"monthly_audio_hour_limit": 2}, "monthly_audio_hours_limit"),
    (
        "POST",
        f"{ADMIN}/organizations",
        {"id": "apex", "monthlyAudioHoursLimit": 2},
        "monthly_audio_hours_limit",
    ),
    ("PATCH", ACME, {"monthly_audio_hours_limt": 2}, "monthly_audio_hours_limit"),
    ("PUT", f"{ACME}/limits", {"limit_seconds": 100, "userid": "bob"}, "user_id"),
    ("POST", f"{ADMIN}/plans", {"id": "p", "name": "P", "soft_capp": True}, "soft_cap"),
    ("PATCH", f"{ADMIN}/plans/starter", {"limit": {"minutes_per_month": 10}}, "limits"),
    (
        "POST",
        f"{ADMIN}/subscriptions",
        {"organization_id": "acme", "plan_id": "starter", "billing-cycles": "anniversary"},
        "billing_cycle",
    ),
    (
        "POST",
        f"{ADMIN}/adjustments",
        {"organization_id": "acme", "seconds": 60, "reason": "x", "userId": "bob"},
        "user_id",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "meant"), BODIES, ids=lambda each: str(each))
async def test_an_operators_slip_in_a_name_is_told_and_changes_nothing(
    service: Service, method: str, path: str, body: dict[str, Any], meant: str
) -> None:
    await service.limit("acme", 7200)
    await service.limit("acme", 3600, "bob")
    before = await everything(service)
    answer = await service.operator.ask(method, path, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field"), answer.text
    (wrong,) = (name for name in body if f"`{name}`" in answer.json()["detail"])
    assert answer.json()["detail"] == f"there is no field `{wrong}`; `{meant}` may be meant"
    assert await everything(service) == before


async def everything(service: Service) -> list[Any]:
    """What operators set."""
    tables = (
        *("organizations", "organization_members", "plans", "plan_limits"),
        *("user_subscriptions", "usage_adjustments"),
    )
    return [await service.sql(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


async def test_a_slip_takes_nothing_of_an_account(service: Service) -> None:
    caller = service.caller()
    await caller.post("/api/billing/init-user", {})
    body = {"usage_type": "interviews_per_day", "ammount": 3}
    answer = await caller.ask("POST", "/api/billing/track-usage", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert "`amount` may be meant" in answer.json()["detail"]
    assert (await caller.post("/api/billing/usage-check", {"usage_type": body["usage_type"]}))[
        "current_usage"
    ] == 0


@pytest.mark.parametrize("name", ["q" * 65, "a`b", "\n", "ü", ""], ids=ascii)
async def test_what_is_no_name_is_not_repeated(service: Service, name: str) -> None:
    answer = await service.caller().ask("POST", "/api/profile/chats", {name: 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert answer.json()["detail"] == "there is a field of a name that isn't known"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("organisation_id=acme&rows=minutes", "`organization_id` may be meant"),
        ("row=minutes", "`rows` may be meant"),
        ("firstDay=2026-01-01", "`first_day` may be meant"),
        ("zzz=1", "there is no parameter `zzz`"),
        ("a%0Ab=1", "there is a parameter of a name that isn't known"),
    ],
)
async def test_a_query_with_an_unknown_name_is_refused(
    service: Service, query: str, detail: str
) -> None:
    answer = await service.operator.ask("GET", f"{ADMIN}/usage/report?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    assert answer.json()["detail"].endswith(detail)


async def test_a_name_is_asked_for_once_and_where_it_belongs(service: Service) -> None:
    await service.organization("acme")
    twice = await service.operator.ask("GET", f"{ADMIN}/organizations?limit=1&limit=2")
    assert (twice.status_code, twice.json()["code"]) == (400, "bad_request")
    elsewhere = await service.operator.ask("GET", f"{ACME}?organization_id=apex")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (400, "unknown_parameter")


async def test_no_body_of_an_operation_takes_unknown_fields(service: Service) -> None:
    bodies = {each.body for each in OPERATIONS if each.body is not Nothing}
    assert len(bodies) > 10
    schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]
    for body in bodies:
        assert body.__struct_config__.forbid_unknown_fields, body
        assert schemas[body.__name__]["additionalProperties"] is False


async def test_clients_of_the_older_system_may_name_the_tokens_user(service: Service) -> None:
    caller = service.caller()
    for path, body in (
        ("init-user", {"email": "ann@example.com"}),
        ("usage-check", {"usage_type": "interviews_per_day", "amount": 1}),
        ("track-usage", {"usage_type": "interviews_per_day", "amount": 1}),
    ):
        await caller.post(f"/api/billing/{path}", {**body, "clerk_id": caller.user})
        other = await caller.ask("POST", f"/api/billing/{path}", {**body, "clerk_id": "bob"})
        assert (other.status_code, other.json()["code"]) == (403, "not_allowed")
    assert (await caller.get("/api/billing/usage-summary"))["user_id"] == caller.user
    assert await service.sql("SELECT * FROM users WHERE clerk_id = 'bob'") == []
