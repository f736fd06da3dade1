"""What holds for all of `/api`: pages of other origins, and what goes wrong."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fakeredis import FakeAsyncRedis
from pydantic import ValidationError

from gateway.api import METHODS
from meter.ledger.driver import Ledger
from persistence.settings import describe
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import Served, serving, settings, token

PATH = "/api/usage/check-limit"
GOOD, ALSO_GOOD = "https://good.example", "http://localhost:3000"
BAD = [
    "https://evil.example",
    "http://good.example",
    "https://good.example:8443",
    "https://good.example.evil.example",
    "https://sub.good.example",
    "https://GOOD.example",
    "https://good.example/",
    "null",
    "*",
    "",
]


@pytest.fixture
async def gateway() -> AsyncIterator[Served]:
    ledger = Ledger(FakeAsyncRedis(), settings().rules)
    origins = f"{GOOD}, {ALSO_GOOD}"
    async with serving(ledger, MemoryStorage(), METER_ALLOWED_ORIGINS=origins) as served:
        yield served


@pytest.fixture
async def client(gateway: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url("", "http")) as client:
        yield client


def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {token('acme')}"}


def cors(response: httpx.Response) -> dict[str, str]:
    """The headers of CORS that an answer has."""
    return {
        name: value for name, value in response.headers.items() if name.startswith("access-control")
    }


def words(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",")}


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = response.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["title"]
    assert problem["detail"]


# Pages of other origins -----------------------------------------------------------------------


@pytest.mark.parametrize("origin", [GOOD, ALSO_GOOD])
async def test_pages_of_allowed_origins_may_read_answers(
    client: httpx.AsyncClient, origin: str
) -> None:
    response = await client.get(PATH, headers={"origin": origin, **bearer()})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in response.headers
    assert "retry-after" in words(response.headers["access-control-expose-headers"])
    assert "origin" in words(response.headers["vary"])


@pytest.mark.parametrize("method", METHODS)
async def test_pages_of_allowed_origins_may_send_what_the_api_takes(
    client: httpx.AsyncClient, method: str
) -> None:
    wanted = "authorization, content-type, idempotency-key"
    response = await client.options(
        PATH,
        headers={
            "origin": GOOD,
            "access-control-request-method": method,
            "access-control-request-headers": wanted,
        },
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == GOOD
    assert method.lower() in words(response.headers["access-control-allow-methods"])
    assert words(wanted) <= words(response.headers["access-control-allow-headers"])
    assert int(response.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", BAD)
async def test_other_origins_get_the_answer_and_no_header_of_cors(
    client: httpx.AsyncClient, origin: str
) -> None:
    response = await client.get(PATH, headers={"origin": origin, **bearer()})
    assert response.status_code == 200
    assert cors(response) == {}
    assert "origin" in words(response.headers["vary"])


@pytest.mark.parametrize("origin", BAD)
async def test_a_preflight_of_another_origin_is_a_method_that_is_not_allowed(
    client: httpx.AsyncClient, origin: str
) -> None:
    response = await client.options(
        PATH, headers={"origin": origin, "access-control-request-method": "GET"}
    )
    assert_problem(response, 405, "method_not_allowed")
    assert cors(response) == {}


async def test_one_good_origin_of_two_is_none(client: httpx.AsyncClient) -> None:
    headers = [("origin", GOOD), ("origin", "https://evil.example")]
    assert cors(await client.get(PATH, headers=headers)) == {}


async def test_without_an_origin_there_are_no_headers_but_caches_are_told(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get(PATH, headers=bearer())
    assert cors(response) == {}
    assert "origin" in words(response.headers["vary"])


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/usage", "/apis", "/"])
async def test_what_is_no_api_is_not_shared(client: httpx.AsyncClient, path: str) -> None:
    assert cors(await client.get(path, headers={"origin": GOOD})) == {}


async def test_the_browser_client_is_for_every_origin(client: httpx.AsyncClient) -> None:
    for origin in (GOOD, "https://evil.example"):
        response = await client.get("/client/minute-meter.js", headers={"origin": origin})
        assert cors(response) == {"access-control-allow-origin": "*"}


async def test_without_allowed_origins_nobody_is_one() -> None:
    ledger = Ledger(FakeAsyncRedis(), settings().rules)
    async with (
        serving(ledger, MemoryStorage()) as gateway,
        httpx.AsyncClient(base_url=gateway.url("", "http")) as client,
    ):
        for origin in (GOOD, "null", ""):
            response = await client.get(PATH, headers={"origin": origin, **bearer()})
            assert (response.status_code, cors(response)) == (200, {})


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "https://*.example.com",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://App.example.com",
        "https://good.example,https://me@app.example.com",
        "null",
        "https://",
        "https://[::1",
    ],
)
def test_an_origin_that_no_browser_sends_is_a_bad_setting(origins: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(METER_ALLOWED_ORIGINS=origins)
    assert "METER_ALLOWED_ORIGINS" in describe(refused.value)


def test_origins_may_be_of_any_scheme_and_port() -> None:
    listed = (
        "https://app.example.com,http://127.0.0.1:8000 , http://[::1]:3000,capacitor://localhost,"
    )
    chosen = settings(METER_ALLOWED_ORIGINS=listed).allowed_origins
    assert chosen == {
        "https://app.example.com",
        "http://127.0.0.1:8000",
        "http://[::1]:3000",
        "capacitor://localhost",
    }


# What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/usage", "/api/é%2F%00"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_is_not_there_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    assert_problem(await client.request(method, path), 404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_a_method_that_is_not_there_is_a_problem_that_names_the_others(
    client: httpx.AsyncClient, method: str
) -> None:
    response = await client.request(method, PATH)
    assert_problem(response, 405, "method_not_allowed")
    assert words(response.headers["allow"]) == {"get", "head"}


async def test_what_nobody_thought_of_is_a_problem_without_its_text_and_is_logged(
    gateway: Served,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: str) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(gateway.parts.operators, "page", broken)
    path = "/api/admin/sessions"
    headers = {"origin": GOOD, "authorization": f"Bearer {token('acme', scope='admin')}"}
    response = await client.get(f"{path}?organization_id=hidden", headers=headers)
    assert_problem(response, 500, "internal_error")
    assert "inside" not in response.text
    assert response.headers["access-control-allow-origin"] == GOOD
    assert "the inside" in caplog.text
    assert path in caplog.text
    assert "hidden" not in caplog.text
    assert headers["authorization"][7:] not in caplog.text
    monkeypatch.undo()
    assert (await client.get(path, headers=headers)).status_code == 200


async def test_problems_can_be_read_by_pages_of_allowed_origins(client: httpx.AsyncClient) -> None:
    for path, status in ((PATH, 401), ("/api/nothing", 404)):
        response = await client.get(path, headers={"origin": GOOD})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == GOOD


async def test_a_head_request_is_answered_without_a_body(client: httpx.AsyncClient) -> None:
    response = await client.head("/api/nothing")
    assert (response.status_code, response.content) == (404, b"")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", None),
        ("POST", "/", None),
        ("GET", "/nothing", None),
        ("GET", "/v1/nothing", None),
        *(("POST", path, {"get", "head"}) for path in ("/healthz", "/readyz", "/metrics")),
        *(("PUT", path, {"get", "head"}) for path in ("/docs", "/openapi.json", "/usage")),
        ("DELETE", "/client/minute-meter.js", {"get", "head"}),
    ],
)
async def test_elsewhere_errors_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, allowed: set[str] | None
) -> None:
    response = await client.request(method, path)
    status, code = (404, "not_found") if allowed is None else (405, "method_not_allowed")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json()["code"], response.json()["status"]) == (code, status)
    if allowed is not None:
        assert words(response.headers["allow"]) == allowed


async def test_elsewhere_a_failure_is_a_problem_and_tells_nothing_of_it(
    gateway: Served, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise RuntimeError("hidden")

    monkeypatch.setattr(gateway.parts.metrics, "text", fail)
    response = await client.get("/metrics")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "hidden" not in response.text
