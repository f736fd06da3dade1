"""`/api/admin/`: what operators see and change, and that nobody else does."""

import pytest

from tests.gateway.serving import recording, token
from tests.http.conftest import Service, pages
from tests.http.described import described_operations

ADMIN = "/api/admin"
ORGANIZATIONS = f"{ADMIN}/organizations"
ADJUSTMENTS = f"{ADMIN}/adjustments"
OPERATORS_ONLY = [each for each in described_operations() if each.path.startswith(ADMIN)]
PEOPLES = [each for each in described_operations() if not each.path.startswith(ADMIN)]


def filled(path: str) -> str:
    """A path with something in its braces."""
    for name in ("organization_id", "user_id", "plan_id", "subscription_id", "session_id"):
        path = path.replace("{" + name + "}", "1")
    return path


# Organizations and members ----------------------------------------------------------------------


async def test_organizations_are_made_read_and_changed(service: Service) -> None:
    operator = service.operator
    body = {"id": "órg 1", "name": "Ørg", "monthly_audio_hours_limit": 10, "time_zone": "UTC"}
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


async def test_a_cursor_is_of_one_list_alone(service: Service) -> None:
    operator = service.operator
    for name in ("acme", "apex"):
        await operator.post(ORGANIZATIONS, {"id": name}, status=201)
        await operator.post(f"{ADMIN}/plans", {"id": f"plan-{name}", "name": name}, status=201)
        body = {"organization_id": name, "plan_id": f"plan-{name}"}
        await operator.post(f"{ADMIN}/subscriptions", body, status=201)
        adjustment = {"organization_id": name, "seconds": 1, "reason": "a list"}
        await operator.post(ADJUSTMENTS, adjustment, status=201)
        await service.sql("SELECT record_ended_session($1, $1, 60, 'interview')", name)
        for member in ("ann", "bob"):
            await operator.ask("PUT", f"{ORGANIZATIONS}/{name}/members/{member}", {})
    others = f"{ADMIN}/usage/dropped-off-users", f"{ADMIN}/usage/feature-adoption"
    lists = (
        *(ORGANIZATIONS, f"{ORGANIZATIONS}/acme/members", f"{ADMIN}/plans"),
        *(f"{ADMIN}/subscriptions", ADJUSTMENTS, f"{ADMIN}/usage/power-users"),
    )
    for path in lists:
        cursor = (await operator.get(path, limit=1))["next_cursor"]
        assert len((await operator.get(path, limit=1, cursor=cursor))["items"]) == 1
        for other in (*lists, *others, f"{ADMIN}/sessions"):
            if other != path:
                answer = await operator.ask("GET", other, params={"cursor": cursor})
                assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), other


async def test_members_are_put_listed_and_removed(service: Service) -> None:
    operator, path = service.operator, f"{ORGANIZATIONS}/acme/members"
    assert (await operator.ask("PUT", f"{path}/ann", {})).status_code == 404
    await operator.post(ORGANIZATIONS, {"id": "acme"}, status=201)
    for name in ("ann", "bob", "cyd"):
        await operator.ask("PUT", f"{path}/{name}", {"monthly_audio_hours_limit": 1.5})
    kept = await operator.ask("PUT", f"{path}/bob", {})
    assert kept.json()["monthly_audio_hours_limit"] == 1.5
    changed = await operator.ask("PUT", f"{path}/bob", {"monthly_audio_hours_limit": None})
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
        await service.organization("acme")
        answer = await service.operator.ask("PUT", path, {"limit_seconds": -1})
        assert answer.json()["limit_seconds"] is None
        answer = await service.operator.ask("PUT", path, {"limit_seconds": 0})
        assert answer.json()["limit_seconds"] == 0
        assert (await recorder.one("stop", 10.0))["reason"] == "limit_reached"
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
    await service.organization("acme")
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


async def test_adjustments_are_kept_with_author_and_reason(service: Service) -> None:
    operator = service.operator
    await service.limit("acme", 600, "ann")
    body = {"organization_id": "acme", "user_id": "ann", "seconds": 120, "reason": "by phone"}
    made = await operator.post(ADJUSTMENTS, body, status=201)
    assert (made["author"], made["reason"], made["user_id"]) == ("olga", "by phone", "ann")
    await operator.post(ADJUSTMENTS, {**body, "seconds": -20}, status=201)
    listed = await pages(operator, ADJUSTMENTS, 1, organization_id="acme", user_id="ann")
    assert [each["seconds"] for each in listed] == [-20, 120]
    assert await pages(operator, ADJUSTMENTS, 1, user_id="bob") == []


async def test_adjustments_are_listed_by_the_day_they_hold_for(service: Service) -> None:
    operator = service.operator
    await service.limit("acme", 600)
    moments = ("2026-01-14T23:59:59Z", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z")
    for seconds, moment in enumerate(moments, 1):
        body = {"organization_id": "acme", "seconds": seconds, "reason": "x"}
        await operator.post(ADJUSTMENTS, {**body, "effective_at": moment}, status=201)
    for span, expected in (
        ({"first_day": "2026-01-15", "last_day": "2026-01-15"}, [2]),
        ({"first_day": "2026-01-15"}, [3, 2]),
        ({"last_day": "2026-01-15"}, [2, 1]),
    ):
        listed = await pages(operator, ADJUSTMENTS, 1, **span)
        assert [each["seconds"] for each in listed] == expected
    wrong = await operator.ask("GET", ADJUSTMENTS, params={"first_day": "0001-01-01"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"seconds": 2**60},
        {"reason": " "},
        {"organization_id": "nobody"},
        {"user_id": "stranger"},
        {"effective_at": "9999-12-31T00:00:00Z"},
        {"effective_at": 253_402_300_799},
        {"effective_at": "0001-01-01T00:00:00Z"},
        {"effective_at": "1969-12-31T23:59:59Z"},
        {"effective_at": "2026-11-01T00:00:00"},
    ],
    ids=str,
)
async def test_an_adjustment_of_what_is_not_there_is_refused(
    service: Service, wrong: dict[str, object]
) -> None:
    await service.limit("acme", 600, "ann")
    body = {"organization_id": "acme", "user_id": "ann", "seconds": 60, "reason": "an outage"}
    answer = await service.operator.ask("POST", ADJUSTMENTS, {**body, **wrong})
    assert (answer.status_code, answer.json()["code"]) in (
        (422, "invalid_value"),
        (422, "invalid_body"),
    )
    assert await service.sql("SELECT * FROM usage_adjustments") == []


@pytest.mark.parametrize("reason", ["\x00", "by\x00phone"], ids=repr)
async def test_a_nul_in_a_reason_is_refused_before_postgres_sees_it(
    service: Service, reason: str
) -> None:
    await service.organization("acme")
    body = {"organization_id": "acme", "seconds": 60, "reason": reason}
    answer = await service.operator.ask("POST", ADJUSTMENTS, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_body")


async def test_who_recorded_can_be_adjusted_whether_a_member_or_not(service: Service) -> None:
    await service.organization("acme")
    await service.sql("SELECT record_ended_session('acme', 'bob', 60, 'interview')")
    ann = service.caller()
    await ann.post("/api/billing/init-user", {})
    for organization, user in (("acme", "bob"), (ann.organization, ann.user)):
        body = {
            "organization_id": organization,
            "user_id": user,
            "seconds": -30,
            "reason": "thanks",
        }
        await service.operator.post(ADJUSTMENTS, body, status=201)
    rows = await service.sql("SELECT organization_id, user_id, seconds FROM usage_adjustments")
    assert {tuple(row) for row in rows} == {
        ("acme", "bob", -30),
        (ann.organization, ann.user, -30),
    }


async def test_who_records_for_the_first_time_can_be_adjusted(service: Service) -> None:
    await service.organization("acme")
    async with recording(service.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"))
        await recorder.hear(0, 1)
        await recorder.acked(0)
        await service.flush()  # the session, and none of its minutes yet
        assert await service.sql("SELECT * FROM usage_tracking") == []
        body = {"organization_id": "acme", "user_id": "ann", "seconds": 60, "reason": "a test"}
        await service.operator.post(ADJUSTMENTS, body, status=201)


async def test_what_is_set_is_set_of_organizations_that_are_there(service: Service) -> None:
    operator, path = service.operator, f"{ORGANIZATIONS}/nobody"
    for method, way, body in (
        ("PUT", "/limits", {"limit_seconds": 60}),
        ("PUT", "/limits", {"limit_seconds": 60, "user_id": "ann"}),
        ("PUT", "/members/ann", {}),
        ("DELETE", "/members/ann", None),
        ("PATCH", "", {}),
    ):
        answer = await operator.ask(method, path + way, body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    subscription = {"organization_id": "nobody", "plan_id": "starter"}
    answer = await operator.ask("POST", f"{ADMIN}/subscriptions", subscription)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")
    for table in ("organizations", "organization_members", "user_subscriptions"):
        assert await service.sql(f"SELECT * FROM {table}") == []
    assert (await operator.ask("GET", path)).status_code == 404


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
            for name, value in named.items():
                refused = await other.ask("GET", operation.path, params={name: value})
                code = refused.json()["code"]
                assert (refused.status_code, code) == (400, "unknown_parameter"), operation.name
            answer = await other.ask("GET", operation.path)
            assert answer.status_code == 200, answer.text
            assert "acme" not in answer.text, operation.name
    month = await other.get("/api/usage/current-month", daily="true")
    assert (month["used_seconds"], month["daily_breakdown"]) == (0, [])
    stats = await other.get("/api/users/stats-v2")
    assert (stats["lifetime"]["total_seconds"], stats["user_id"]) == (0, "bob")
