"""What operators change is in the ledger when it is answered: here without a flusher."""

import asyncio
from typing import Any

import pytest

from gateway.http import telling
from meter.ledger.types import LedgerUnavailable
from tests.gateway.serving import recording, token
from tests.http.conftest import Caller, Service

ADJUSTMENTS = "/api/admin/adjustments"
SUBSCRIPTIONS = "/api/admin/subscriptions"
ACME = "/api/admin/organizations/acme"
ADDED = {"organization_id": "acme", "user_id": "ann", "seconds": 120, "reason": "by phone"}


async def check(caller: Caller) -> tuple[int, int | None]:
    """Used and remaining seconds, by the ledger."""
    answer = await caller.get("/api/usage/check-limit")
    return answer["used_seconds"], answer["remaining_seconds"]


async def warm(service: Service) -> Caller:
    """Somebody whose account the ledger knows, with 600 seconds."""
    await service.limit("acme", 600)
    await service.limit("acme", 500, "ann")
    caller = service.caller("acme", "ann")
    assert await check(caller) == (0, 500)
    return caller


async def test_an_adjustment_is_in_used_and_remaining_when_it_is_answered(untold: Service) -> None:
    caller = await warm(untold)
    for seconds, left in ((120, (120, 380)), (-20, (100, 400)), (1, (101, 399))):
        await untold.operator.post(ADJUSTMENTS, {**ADDED, "seconds": seconds}, status=201)
        assert await check(caller) == left
        month = await caller.get("/api/usage/current-month")
        assert month["used_seconds"] == month["adjusted_seconds"] == left[0]
        assert month["recorded_by_you_seconds"] == 0


async def test_live_sessions_are_told_with_their_next_second(untold: Service) -> None:
    await warm(untold)
    async with recording(untold.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"))
        await recorder.hear(0, 0)
        assert (await recorder.acked(0))["usage"]["used_seconds"] == 1
        await untold.operator.post(ADJUSTMENTS, ADDED, status=201)
        await recorder.hear(1, 1)
        assert (await recorder.acked(1))["usage"]["used_seconds"] == 122


async def test_so_are_limits_members_plans_and_what_an_organization_is_changed_to(
    untold: Service,
) -> None:
    operator, caller = untold.operator, await warm(untold)
    changes: list[tuple[str, str, Any, int | None]] = [
        ("PUT", ACME + "/limits", {"limit_seconds": 90}, 90),
        ("PUT", ACME + "/limits", {"limit_seconds": 80, "user_id": "ann"}, 80),
        ("PUT", ACME + "/members/ann", {"monthly_audio_hours_limit": 0.02}, 72),
        ("DELETE", ACME + "/members/ann", None, 90),
        ("PATCH", ACME, {"monthly_audio_hours_limit": 1}, 3600),
        ("PATCH", ACME, {"monthly_audio_hours_limit": None}, None),
        ("POST", SUBSCRIPTIONS, {"organization_id": "acme", "plan_id": "starter"}, 18_000),
    ]
    for method, path, body, left in changes:
        answer = await operator.ask(method, path, body)
        assert answer.is_success, answer.text
        assert await check(caller) == (0, left), (method, path)
    made = answer.json()["id"]
    for change, left in (({"plan_id": "premium"}, 150_000), ({"status": "canceled"}, None)):
        await operator.ask("PATCH", f"{SUBSCRIPTIONS}/{made}", change)
        assert await check(caller) == (0, left)


async def test_a_ledger_that_is_away_is_told_later(
    untold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise LedgerUnavailable("away")

    caller = await warm(untold)
    monkeypatch.setattr(untold.served.parts.ledger, "set_limits", away)
    await untold.operator.post(ADJUSTMENTS, ADDED, status=201)
    assert await check(caller) == (0, 500)
    monkeypatch.undo()
    async with untold.telling(), asyncio.timeout(30):
        while await check(caller) != (120, 380):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_no_answer_waits_for_a_slow_ledger(
    untold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: object) -> None:
        await asyncio.sleep(60)

    caller = await warm(untold)
    monkeypatch.setattr(telling, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(untold.served.parts.ledger, "set_limits", slow)
    async with asyncio.timeout(30):
        await untold.operator.post(ADJUSTMENTS, ADDED, status=201)
    assert await check(caller) == (0, 500), "the ledger, which wasn't told"
    rows = await untold.sql("SELECT seconds FROM usage_adjustments")
    assert [row["seconds"] for row in rows] == [120]


async def test_a_refused_change_tells_nothing(
    untold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    async def note(limits: object) -> None:
        told.append(limits)

    await warm(untold)
    monkeypatch.setattr(untold.served.parts.ledger, "set_limits", note)
    starter = {"organization_id": "nobody", "plan_id": "starter"}
    for method, path, body in (
        ("POST", ADJUSTMENTS, {**ADDED, "seconds": 0}),
        ("POST", ADJUSTMENTS, {**ADDED, "user_id": "stranger"}),
        ("POST", SUBSCRIPTIONS, starter),
        ("PUT", ACME + "/limits", {"limit_seconds": -2}),
        ("PATCH", ACME, {"time_zone": "Moon/Base"}),
    ):
        answer = await untold.operator.ask(method, path, body)
        assert answer.status_code == 422, (path, answer.text)
    assert told == []


async def test_the_month_never_mixes_rows_that_the_ledger_was_not_told_of(untold: Service) -> None:
    caller = await warm(untold)
    for seconds in (90, -30, 7):
        await untold.sql(
            "INSERT INTO usage_adjustments (organization_id, user_id, seconds, reason, author)"
            " VALUES ('acme', 'ann', $1, 'by hand', 'olga') RETURNING 1",
            seconds,
        )
        month = await caller.get("/api/usage/current-month")
        assert month["used_seconds"] == month["adjusted_seconds"]
        assert month["remaining_seconds"] == 500 - month["adjusted_seconds"]
    stats = await caller.get("/api/users/stats-v2")
    assert stats["current_month"]["seconds_used"] == 67
