"""Minutes that `/api/billing/track-usage` takes as a number: all of them, once, or none."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from gateway.http import spending
from meter.ledger.types import StorageUnavailable
from persistence.books import Books
from tests.http.conftest import Caller, Service

TRACK = "/api/billing/track-usage"
INTERVIEWS = "interviews_per_day"
MINUTES = "minutes_per_month"
ANALYSES = "detailed_analysis_per_month"


async def subscribed(service: Service, **plan: Any) -> Caller:
    """A member of an organization on a plan of its own."""
    name = f"org-{uuid4()}"
    await service.calm(name)
    body = {"id": name, "name": name, **plan}
    await service.operator.post("/api/admin/plans", body, status=201)
    subscription = {"organization_id": name, "plan_id": name}
    await service.operator.post("/api/admin/subscriptions", subscription, status=201)
    return service.caller(name)


async def used_seconds(caller: Caller) -> int:
    answer: int = (await caller.get("/api/usage/check-limit"))["used_seconds"]
    return answer


async def taken(service: Service, caller: Caller) -> tuple[int, int]:
    """Seconds that are durable once all is, and features that were used, of the account."""
    await service.flush()
    rows = await service.sql(
        "SELECT (SELECT coalesce(sum(seconds_recorded), 0) FROM usage_tracking"
        " WHERE organization_id = $1), (SELECT coalesce(sum(amount), 0) FROM feature_events"
        " WHERE organization_id = $1)",
        caller.organization,
    )
    return int(rows[0][0]), int(rows[0][1])


async def test_minutes_longer_than_a_session_may_be_change_nothing_however_often_they_come(
    service: Service,
) -> None:
    limits = {MINUTES: 100, INTERVIEWS: 5}
    caller = await subscribed(service, max_session_seconds=600, limits=limits)
    body = {"usages": {MINUTES: 30, INTERVIEWS: 1}}
    for key in ("k", "k", None, None):
        answer = await caller.ask("POST", TRACK, body, key=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "session_too_long")
    assert await used_seconds(caller) == 0
    assert await taken(service, caller) == (0, 0)
    rows = await service.sql(
        "SELECT count(*) FROM interview_sessions WHERE organization_id = $1", caller.organization
    )
    assert rows[0][0] == 0
    path = f"/api/admin/plans/{caller.organization}"
    longer = await service.operator.ask("PATCH", path, {"max_session_seconds": 3600})
    assert longer.status_code == 200
    await asyncio.sleep(0.5)  # a plan's change is told by the flusher
    assert (await caller.post(TRACK, body, key="k"))["allowed"]
    assert await taken(service, caller) == (1800, 1)


async def test_minutes_that_reach_into_a_full_period_are_refused_whole(service: Service) -> None:
    caller, began = await turned(service)
    minutes = (time.time() - began) // 60 + 5
    await service.limit(caller.organization, int(minutes) * 60)
    session = str(uuid4())
    for at in range(int(minutes)):
        await caller.post(
            "/api/usage/track-minute",
            {
                "session_id": session,
                "seconds_recorded": 60,
                "minute_timestamp": began - 60 * int(minutes) + 60 * at,
                "session_started_at": began - 60 * int(minutes),
            },
        )
    assert await used_seconds(caller) == 0
    body = {"usages": {MINUTES: minutes, ANALYSES: 1}}
    for key in ("k", "k", None):
        answer = await caller.post(TRACK, body, key=key)
        assert not answer["allowed"]
        assert {line["used"] for line in answer["usages"]} == {0}
    assert await used_seconds(caller) == 0
    assert await taken(service, caller) == (minutes * 60, 0)


async def turned(service: Service) -> tuple[Caller, int]:
    """A member of an organization with a period that began within the last hour, and when."""
    caller = service.caller(f"org-{uuid4()}")
    hour = datetime.now(UTC).hour
    zone = f"Etc/GMT+{hour}" if hour <= 12 else f"Etc/GMT-{24 - hour}"  # it is midnight there
    await service.organization(caller.organization, zone)
    subscription = {
        "organization_id": caller.organization,
        "plan_id": "premium",
        "billing_cycle": "anniversary",
    }
    await service.operator.post("/api/admin/subscriptions", subscription, status=201)
    began: int = (await caller.get("/api/usage/check-limit"))["period_start"]
    assert time.time() - began < 3700
    return caller, began


async def lose_the_answer(
    monkeypatch: pytest.MonkeyPatch, caller: Caller, body: dict[str, Any]
) -> None:
    """A call with the key `k` whose minutes are counted when Postgres fails."""

    async def fail(*_: object) -> None:
        raise StorageUnavailable("it stalls")

    with monkeypatch.context() as broken:
        broken.setattr(Books, "keep", fail)
        assert (await caller.ask("POST", TRACK, body, key="k")).status_code == 503


async def test_a_retry_after_postgres_failed_takes_what_the_ledger_had_counted(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await subscribed(service, limits={MINUTES: 10, ANALYSES: 3})
    body = {"usages": {MINUTES: 8, ANALYSES: 1}}
    await lose_the_answer(monkeypatch, caller, body)
    assert await used_seconds(caller) == 480
    for _ in range(2):  # nothing of it is durable
        answer = await caller.post(TRACK, body, key="k")
        assert answer["allowed"]
        assert [line["used"] for line in answer["usages"]] == [1, 8]
    assert await used_seconds(caller) == 480
    assert await taken(service, caller) == (480, 1)


async def test_minutes_that_were_counted_are_not_refused_as_a_feature_is_gone_since(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await subscribed(service, limits={MINUTES: 10, ANALYSES: 1})
    body = {"usages": {MINUTES: 8, ANALYSES: 1}}
    await lose_the_answer(monkeypatch, caller, body)
    assert (await caller.post(TRACK, {"usage_type": ANALYSES}))["allowed"]
    answer = await caller.post(TRACK, body, key="k")
    assert answer["allowed"]
    assert [line["used"] for line in answer["usages"]] == [1, 8]
    assert await taken(service, caller) == (480, 1)


async def test_a_retry_after_the_ledger_lost_all_goes_by_what_is_durable(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await subscribed(service, limits={MINUTES: 10, ANALYSES: 3})
    body = {"usages": {MINUTES: 8, ANALYSES: 1}}
    await lose_the_answer(monkeypatch, caller, body)
    await service.flush()
    async with Redis.from_url(service.redis_url) as redis:
        await redis.flushall()
    assert (await caller.post(TRACK, body, key="k"))["allowed"]
    assert await used_seconds(caller) == 480
    assert await taken(service, caller) == (480, 1)


async def test_a_key_that_comes_back_after_a_day_is_another_call(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await subscribed(service, limits={MINUTES: 100})
    five = {"usage_type": MINUTES, "amount": 5}
    assert (await caller.post(TRACK, five, key="k"))["allowed"]
    await service.flush()
    old = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' RETURNING 1"
    await service.sql(old)
    answer = await caller.post(TRACK, {**five, "amount": 60}, key="k")
    assert (answer["allowed"], answer["usages"][0]["used"]) == (True, 65)
    await service.sql(old)
    a_day_later = time.time() + 25 * 3600
    monkeypatch.setattr(spending, "now", lambda: a_day_later)
    answer = await caller.post(TRACK, five, key="k")
    assert (answer["allowed"], answer["usages"][0]["used"]) == (True, 70)
    assert await taken(service, caller) == (70 * 60, 0)


async def test_minutes_that_came_by_sql_are_seen_at_once(service: Service) -> None:
    caller = await subscribed(service, limits={MINUTES: 10, INTERVIEWS: 5})
    assert await used_seconds(caller) == 0  # the ledger has the account, without those
    by_sql = "SELECT track_usage($1, 'minutes_per_month', 5, NULL, $2)"
    rows = await service.sql(by_sql, caller.user, caller.organization)
    assert rows[0][0]
    refused = await caller.post(TRACK, {"usages": {MINUTES: 6, INTERVIEWS: 1}})
    assert not refused["allowed"]
    assert [line["used"] for line in refused["usages"]] == [0, 5]
    rest = await asyncio.gather(
        *(caller.post(TRACK, {"usage_type": MINUTES, "amount": 1}) for _ in range(7))
    )
    assert sum(answer["allowed"] for answer in rest) == 5
    assert await taken(service, caller) == (600, 0)
    assert await used_seconds(caller) == 600


async def test_a_ledger_that_is_emptied_gets_the_minutes_back(service: Service) -> None:
    caller = await subscribed(service, limits={MINUTES: 100})
    assert (await caller.post(TRACK, {"usages": {MINUTES: 5}}))["allowed"]
    async with Redis.from_url(service.redis_url) as redis:
        await redis.flushall()
    async with asyncio.timeout(10):
        while (await taken(service, caller))[0] != 300:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
