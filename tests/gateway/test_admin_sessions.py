"""`/api/admin/sessions` on a real socket, with a real Valkey."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.types import SessionKey
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.operating import begin
from tests.gateway.serving import Served, recording, serving, token
from tests.ledger.servers import Valkey

PATH = "/api/admin/sessions"


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def gateway(empty_valkey: Valkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    async with serving(Ledger.connect(empty_valkey.url), storage) as served:
        yield served


async def ask(
    gateway: Served,
    method: str,
    path: str,
    scope: str | None = "admin",
    query: dict[str, object] | None = None,
) -> httpx.Response:
    headers = {} if scope is None else {"authorization": f"Bearer {token('ops', scope=scope)}"}
    async with httpx.AsyncClient() as client:
        return await client.request(
            method,
            gateway.url(path, "http"),
            headers=headers,
            params={name: str(value) for name, value in (query or {}).items()},
        )


async def stop(gateway: Served, session_id: str) -> httpx.Response:
    return await ask(gateway, "POST", f"{PATH}/{session_id}/stop")


@pytest.mark.integration
async def test_pages_are_listed_and_filtered(gateway: Served, storage: MemoryStorage) -> None:
    organizations = ["acme", "acme", "acme", "órg & co"]
    made = [SessionKey(name, str(uuid4())) for name in organizations]
    await begin(gateway.parts.ledger, storage, *made)
    response = await ask(gateway, "GET", PATH, query={"limit": 3})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    first = response.json()
    assert (first["total"], first["organizations"]) == (4, 2)
    assert first["by_organization"] == {"acme": 3, "órg & co": 1}
    query = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await ask(gateway, "GET", PATH, query=query)).json()
    assert second["next_cursor"] is None
    listed = [each["session_id"] for each in first["sessions"] + second["sessions"]]
    assert sorted(listed) == sorted(key.session_id for key in made)
    filtered = (await ask(gateway, "GET", PATH, query={"organization_id": "órg & co"})).json()
    assert [each["session_id"] for each in filtered["sessions"]] == [made[3].session_id]
    assert filtered["by_organization"] == {"órg & co": 1}
    assert "type" not in filtered
    nobody = (await ask(gateway, "GET", PATH, query={"organization_id": "nobody"})).json()
    assert (nobody["total"], nobody["by_organization"], nobody["sessions"]) == (0, {}, [])


@pytest.mark.integration
@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 501}, {"limit": "many"}, {"cursor": "x"}, {"organization_id": ""}],
    ids=str,
)
async def test_a_wrong_query_is_said(gateway: Served, query: dict[str, object]) -> None:
    response = await ask(gateway, "GET", PATH, query=query)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "bad_request"
    assert next(iter(query)) in problem["detail"]


@pytest.mark.integration
async def test_a_session_is_stopped_and_its_recorder_closed(gateway: Served) -> None:
    async with recording(gateway, "acme") as recorder:
        await recorder.start()
        await recorder.hear(0, 2)
        await recorder.acked(2)
        response = await stop(gateway, recorder.session_id.upper())
        assert response.status_code == 200
        answer = response.json()
        assert answer.pop("ended_at") > 0
        assert answer == {
            "session_id": recorder.session_id,
            "organization_id": "acme",
            "reason": "admin",
            "session_seconds": 3,
        }
        assert await recorder.closed(10.0) == 4503


@pytest.mark.integration
async def test_a_session_that_has_ended_is_answered_with_its_reason_as_often_as_it_is_asked_for(
    gateway: Served, storage: MemoryStorage
) -> None:
    key = SessionKey("acme", str(uuid4()))
    await begin(gateway.parts.ledger, storage, key)
    await gateway.parts.ledger.close(key, EndReason.MAX_DURATION)
    answers = [await stop(gateway, key.session_id) for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["reason"] == "max_duration"


@pytest.mark.integration
@pytest.mark.parametrize(
    "session_id",
    ["00000000-0000-4000-8000-000000000000", "all", "%00", "1" * 3000],
    ids=["unknown", "a word", "a control character", "long"],
)
async def test_an_unknown_session_is_not_found(gateway: Served, session_id: str) -> None:
    response = await stop(gateway, session_id)
    assert response.status_code == 404
    assert response.json()["code"] == "session_not_found"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("scope", "status", "code"),
    [(None, 401, "token_missing"), ("record usage", 403, "not_allowed")],
    ids=["no token", "another scope"],
)
async def test_only_operators_may(
    gateway: Served, storage: MemoryStorage, scope: str | None, status: int, code: str
) -> None:
    key = SessionKey("acme", str(uuid4()))
    await begin(gateway.parts.ledger, storage, key)
    for method, path in (("GET", PATH), ("POST", f"{PATH}/{key.session_id}/stop")):
        response = await ask(gateway, method, path, scope)
        assert response.status_code == status
        assert response.json()["code"] == code
        assert "www-authenticate" in response.headers
        assert key.session_id not in response.text
    state = await gateway.parts.ledger.close(key, EndReason.STOPPED)
    assert state is not None
    assert state.end_reason == "stopped"


async def test_without_redis_it_is_unavailable() -> None:
    ledger = Ledger.connect("redis://127.0.0.1:1/0", timeout_seconds=0.5)
    async with serving(ledger, MemoryStorage()) as gateway:
        for response in (await ask(gateway, "GET", PATH), await stop(gateway, str(uuid4()))):
            assert response.status_code == 503
            assert response.json()["code"] == "storage_unavailable"
            assert int(response.headers["retry-after"]) > 0
