"""`POST /api/usage/track-minute`: minutes without a WebSocket, in the same ledger."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.gateway.serving import recording, token
from tests.http.conftest import Caller, Service

PATH = "/api/usage/track-minute"


def minute(seconds: int = 60, ago: int = 2, session: str | None = None) -> dict[str, Any]:
    """The body of a minute so many minutes ago."""
    return {
        "session_id": session or str(uuid4()),
        "seconds_recorded": seconds,
        "minute_timestamp": int(time.time()) // 60 * 60 - 60 * ago,
    }


async def rows_of(service: Service, session: str) -> list[tuple[int, int]]:
    await service.flush()
    rows = await service.sql(
        "SELECT extract(epoch FROM minute_timestamp)::bigint, seconds_recorded"
        " FROM usage_tracking WHERE session_id = $1 ORDER BY 1",
        session,
    )
    return [tuple(row) for row in rows]


async def refused(caller: Caller, body: dict[str, Any]) -> tuple[int, str]:
    response = await caller.ask("POST", PATH, body)
    return response.status_code, response.json()["code"]


async def test_a_minute_is_counted_and_durable(service: Service) -> None:
    caller, body = service.caller(), minute(45)
    await service.calm(caller.organization)
    answer = await caller.post(PATH, body)
    counted = (answer["seconds_recorded"], answer["seconds_new"], answer["session_seconds"])
    assert counted == (45, 45, 45)
    assert answer["minute_timestamp"] == body["minute_timestamp"]
    assert (await caller.get("/api/usage/check-limit"))["used_seconds"] == 45
    assert await rows_of(service, body["session_id"]) == [(body["minute_timestamp"], 45)]
    rows = await service.sql("SELECT user_id, organization_id FROM interview_sessions")
    assert [tuple(row) for row in rows] == [(caller.user, caller.organization)]


async def test_repeats_change_nothing(service: Service) -> None:
    caller, body = service.caller(), minute(45)
    answers = await asyncio.gather(*(caller.post(PATH, body) for _ in range(20)))
    assert sum(answer["seconds_new"] for answer in answers) == 45
    assert {answer["seconds_recorded"] for answer in answers} == {45}
    assert {answer["session_seconds"] for answer in answers} == {45}
    await service.flush()
    assert (await caller.post(PATH, body))["seconds_new"] == 0
    assert await rows_of(service, body["session_id"]) == [(body["minute_timestamp"], 45)]


async def test_a_minute_holds_the_most_that_was_said_of_it(service: Service) -> None:
    caller, body = service.caller(), minute(20)
    for seconds, new in ((20, 20), (60, 40), (30, 0)):
        answer = await caller.post(PATH, {**body, "seconds_recorded": seconds})
        assert (answer["seconds_recorded"], answer["seconds_new"]) == (seconds, new)
    assert await rows_of(service, body["session_id"]) == [(body["minute_timestamp"], 60)]


async def test_minutes_of_a_session_come_in_any_order_once_it_is_said_when_it_began(
    service: Service,
) -> None:
    caller, session = service.caller(), str(uuid4())
    begun = int(time.time()) // 60 * 60 - 600
    for ago in (3, 10, 5):
        await caller.post(PATH, {**minute(60, ago, session), "session_started_at": begun})
    assert [seconds for _, seconds in await rows_of(service, session)] == [60, 60, 60]
    other = minute(60, 3)
    await caller.post(PATH, other)
    early = minute(60, 4, other["session_id"])
    assert await refused(caller, early) == (422, "minute_too_late")


async def test_any_moment_of_the_minute_will_do_with_any_offset(service: Service) -> None:
    caller, body = service.caller(), minute()
    moment = datetime.fromtimestamp(body["minute_timestamp"] + 59, UTC)
    for form in (moment.isoformat(), moment.isoformat().replace("+00:00", "Z")):
        answer = await caller.post(PATH, {**body, "minute_timestamp": form})
        assert answer["minute_timestamp"] == body["minute_timestamp"]
    naive = {**body, "minute_timestamp": moment.replace(tzinfo=None).isoformat()}
    assert await refused(caller, naive) == (422, "invalid_body")


@pytest.mark.parametrize("seconds", [0, 61, -1, 1.5, "60", None])
async def test_a_minute_has_from_1_to_60_seconds(service: Service, seconds: object) -> None:
    body = {**minute(), "seconds_recorded": seconds}
    assert await refused(service.caller(), body) == (422, "invalid_body")


async def test_a_minute_to_come_or_of_long_ago_is_refused(service: Service) -> None:
    caller = service.caller()
    assert await refused(caller, minute(60, -2)) == (422, "minute_in_future")
    assert await refused(caller, minute(60, 24 * 60 + 1)) == (422, "minute_too_late")
    long_ago = (datetime.now(UTC) - timedelta(days=400)).isoformat()
    assert (await refused(caller, {**minute(), "minute_timestamp": long_ago}))[0] == 422
    rows = await service.sql("SELECT count(*) FROM interview_sessions")
    assert rows[0][0] == 0


async def test_the_limit_holds_to_the_second_and_what_fits_is_counted(service: Service) -> None:
    caller = service.caller("acme")
    await service.limit("acme", 100)
    bodies = [minute(60, ago) for ago in range(1, 5)]
    answers = [await caller.ask("POST", PATH, body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403]
    partly = answers[1].json()
    assert (partly["seconds_recorded"], partly["seconds_refused"]) == (40, 20)
    assert partly["limit_reached"]
    assert answers[2].json()["code"] == "limit_reached"
    # What was counted is still told as counted.
    assert (await caller.post(PATH, bodies[0]))["seconds_recorded"] == 60
    assert (await caller.post(PATH, bodies[1]))["seconds_recorded"] == 40
    await service.flush()
    rows = await service.sql("SELECT sum(seconds_recorded) FROM usage_tracking")
    assert rows[0][0] == 100


async def test_a_later_minute_past_a_used_up_limit_is_refused(service: Service) -> None:
    caller, session = service.caller("acme"), str(uuid4())
    await service.limit("acme", 70)
    started = {"session_started_at": int(time.time()) // 60 * 60 - 300}
    answers = [
        await caller.ask("POST", PATH, {**minute(60, ago, session), **started}) for ago in (5, 4, 3)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 403]


async def test_many_at_once_never_pass_the_limit(service: Service) -> None:
    await service.limit("acme", 500)
    callers = [service.caller("acme") for _ in range(30)]
    answers = await asyncio.gather(*(caller.ask("POST", PATH, minute()) for caller in callers))
    counted = [each.json()["seconds_recorded"] for each in answers if each.status_code == 200]
    assert sum(counted) == 500
    assert {each.status_code for each in answers} == {200, 403}


async def test_another_users_session_is_answered_alike_wherever_it_is_and_however_it_stands(
    service: Service,
) -> None:
    ann, body = service.caller("acme", "ann"), minute()
    await ann.post(PATH, body)
    others = service.caller("acme", "bob"), service.caller("globex", "ann"), service.caller()
    answers = [await others[0].ask("POST", PATH, body)]
    await service.flush()
    answers += [await other.ask("POST", PATH, body) for other in others]
    await service.operator.post(f"/api/admin/sessions/{body['session_id']}/stop")
    answers += [await other.ask("POST", PATH, body) for other in others]
    await service.flush()
    answers += [await other.ask("POST", PATH, body) for other in others]
    assert {each.status_code for each in answers} == {404}
    (told,) = {each.text for each in answers}
    assert json.loads(told)["code"] == "session_not_found"
    assert (await ann.post(PATH, body))["seconds_recorded"] == 60


async def test_a_live_recorder_keeps_its_session(service: Service) -> None:
    async with recording(service.served, "acme") as recorder:
        await recorder.start(token=token("acme", "ann"))
        now = int(time.time()) // 60 * 60
        body = {"session_id": recorder.session_id, "seconds_recorded": 60, "minute_timestamp": now}
        await service.caller("acme", "ann").ask("POST", PATH, body)
        await recorder.hear(0, 0)
        assert (await recorder.acked(0))["session_seconds"] >= 1
        assert recorder.socket.close_code is None


async def test_an_ended_session_takes_no_new_minute_and_tells_of_its_old_ones(
    service: Service,
) -> None:
    caller, body = service.caller(), minute()
    await caller.post(PATH, body)
    await service.operator.post(f"/api/admin/sessions/{body['session_id']}/stop")
    await service.flush()
    assert (await caller.post(PATH, body))["seconds_new"] == 0
    assert await refused(caller, minute(60, 1, body["session_id"])) == (409, "session_ended")
    assert [seconds for _, seconds in await rows_of(service, body["session_id"])] == [60]


async def test_a_ledger_that_is_emptied_gets_a_tracked_minute_back(service: Service) -> None:
    caller, body = service.caller(), minute(45)
    await service.calm(caller.organization)
    await caller.post(PATH, body)
    async with Redis.from_url(service.redis_url) as redis:
        await redis.flushall()
    async with asyncio.timeout(10):
        while await rows_of(service, body["session_id"]) != [(body["minute_timestamp"], 45)]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
