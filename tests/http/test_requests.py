"""How requests are read, and what is answered to those that can't be."""

import json

import httpx
import pytest
from fakeredis import FakeAsyncRedis

from meter.ledger.driver import Ledger
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import serving, settings
from tests.http.conftest import Caller, Service

USE = "/api/billing/track-usage"
GOOD = b'{"usage_type": "interviews_per_day"}'


async def send(
    service: Service, body: bytes, media_type: str = "application/json"
) -> tuple[int, str]:
    response = await service.caller().ask(
        "POST", USE, content=body, headers={"content-type": media_type}
    )
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code
    return response.status_code, response.json().get("code", "")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"x": ' + b"[" * 60_000],
    ids=lambda body: str(body[:10]),
)
async def test_a_body_that_is_no_json_is_a_bad_request(service: Service, body: bytes) -> None:
    assert await send(service, body) == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"text"',
        b'{"usage_type": 7}',
        b'{"usage_type": ""}',
        b'{"usage_type": "a\\u0000b"}',
        b'{"usage_type": "interviews_per_day", "amount": -1}',
        b'{"usage_type": "interviews_per_day", "amount": 1e400}',
        b'{"usages": {"interviews_per_day": "1"}}',
    ],
    ids=str,
)
async def test_a_body_of_another_shape_is_told_apart(service: Service, body: bytes) -> None:
    status, _ = await send(service, body)
    assert status in (400, 422)


@pytest.mark.parametrize("path", ["/api/billing/init-user", "/api/profile/chats"])
async def test_where_nothing_has_to_be_said_no_body_is_needed(service: Service, path: str) -> None:
    caller = service.caller()
    assert (await caller.ask("POST", path)).is_success
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await caller.ask("POST", path, headers=form)).is_success
    described = (await service.client.get("/openapi.json")).json()
    assert not described["paths"][path]["post"]["requestBody"]["required"]
    cut = await caller.ask("POST", path, content=b" ")
    assert (cut.status_code, cut.json()["code"]) == (400, "bad_request")


async def test_a_body_is_bounded(service: Service) -> None:
    assert await send(service, GOOD + b" " * 65_536) == (413, "body_too_large")
    fits = GOOD + b" " * 60_000
    assert (await send(service, fits))[0] == 200


async def test_a_body_is_json(service: Service) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert await send(service, GOOD, media_type) == (415, "unsupported_media_type")
    assert (await send(service, GOOD, "Application/JSON; charset=utf-8"))[0] == 200


async def test_a_body_is_not_compressed(service: Service) -> None:
    for path, coding in ((USE, "gzip"), ("/api/billing/init-user", "br, gzip")):
        headers = {"content-type": "application/json", "content-encoding": coding}
        answer = await service.caller().ask("POST", path, content=b"{}", headers=headers)
        code = answer.json()["code"]
        assert (answer.status_code, code) == (415, "unsupported_media_type")
        assert answer.headers["accept-encoding"] == "identity"
    headers = {"content-type": "application/json", "content-encoding": "identity"}
    answer = await service.caller().ask("POST", USE, content=GOOD, headers=headers)
    assert answer.status_code == 200


async def test_nobody_is_led_elsewhere_for_a_slash_at_the_end(service: Service) -> None:
    for path in ("/api/usage/check-limit/", "/usage/", "/openapi.json/", "/healthz/"):
        answer = await service.caller().ask("GET", path, headers={"host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "location" not in answer.headers


async def test_what_is_no_method_is_refused_before_it_is_a_request(service: Service) -> None:
    answer = await service.client.request("FOO", "/healthz")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/v1/record", "/v1/usage", "/v1/ops"])
async def test_where_a_websocket_is_spoken_a_plain_request_is_told_so(
    service: Service, path: str
) -> None:
    answer = await service.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["upgrade"] == "websocket"


async def test_a_wrong_method_is_told_all_right_ones(service: Service) -> None:
    response = await service.operator.ask("DELETE", "/api/admin/organizations/acme")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    allowed = {method.strip() for method in response.headers["allow"].split(",")}
    assert allowed == {"GET", "HEAD", "PATCH"}


async def test_ids_may_be_of_any_script_and_need_no_escape(service: Service) -> None:
    caller = service.caller("órg ' OR 1=1; --", 'ü"ser\\%_')
    await caller.post("/api/billing/init-user", {})
    await caller.post(USE, {"usage_type": "interviews_per_day"})
    assert (await caller.get("/api/billing/usage-summary"))["user_id"] == caller.user


async def test_answers_are_not_cached(service: Service) -> None:
    caller = service.caller()
    for path in ("/api/billing/usage-summary", "/api/usage/current-month"):
        response = await caller.ask("GET", path)
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "application/json"


async def test_without_postgres_what_needs_it_is_unavailable() -> None:
    ledger = Ledger(FakeAsyncRedis(), settings().rules)
    url = "postgresql://nobody@127.0.0.1:1/none"
    async with (
        serving(ledger, MemoryStorage(), DATABASE_URL=url) as served,
        httpx.AsyncClient(base_url=served.url("", "http")) as client,
    ):
        caller = Caller(client, "acme", "ann", "record usage admin")
        for method, path in (
            ("GET", "/api/usage/current-month"),
            ("GET", "/api/billing/usage-summary"),
            ("POST", USE),
            ("GET", "/api/admin/organizations"),
            ("GET", "/api/admin/usage/report"),
        ):
            body = json.loads(GOOD) if method == "POST" else None
            response = await caller.ask(method, path, body)
            assert (response.status_code, path) == (503, path)
            assert response.json()["code"] == "storage_unavailable"
            assert int(response.headers["retry-after"]) > 0
