"""A gateway whose tokens an identity provider signs: on real sockets, with a real Valkey."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from command.embedded import EmbeddedValkey
from gateway.jwks import RemoteKeys
from meter.ledger.driver import Ledger
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.provider import Provider, ec_key, jwk, providing, rsa_key, signed
from tests.gateway.serving import Address, Recorder, Served, recording, serving, until
from tests.gateway.serving import token as signed_with_a_secret
from tests.gateway.watching import watching

pytestmark = pytest.mark.integration

RSA, EC, NEW = rsa_key("first"), ec_key("first"), rsa_key("second")
APART = 0.2


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing(jwk(RSA, "r1"), jwk(EC, "e1")) as provider:
        yield provider


@pytest.fixture
def organization() -> str:
    return f"org-{uuid4()}"


@pytest.fixture
async def gateway(valkey_server: EmbeddedValkey, provider: Provider) -> AsyncIterator[Served]:
    async with gateway_of(valkey_server, provider) as gateway:
        await until(lambda: keys_of(gateway).available)
        yield gateway


@asynccontextmanager
async def gateway_of(valkey: EmbeddedValkey, provider: Provider) -> AsyncIterator[Served]:
    """A gateway whose fetches are apart for less long than in life."""
    variables = {"METER_JWT_SECRET": None, "METER_JWKS_URL": provider.url}
    async with serving(Ledger.connect(valkey.url), MemoryStorage(), **variables) as gateway:
        keys_of(gateway)._apart_seconds = APART
        yield gateway


def keys_of(gateway: Served) -> RemoteKeys:
    keys = gateway.parts.context.verifier.remote_keys
    assert keys is not None
    return keys


async def get(gateway: Address, path: str, token: str | None = None) -> httpx.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.get(gateway.url(path, "http"), headers=headers)


async def check_limit(gateway: Address, token: str) -> httpx.Response:
    return await get(gateway, "/api/usage/check-limit", token)


async def readiness(gateway: Address) -> tuple[int, dict[str, str]]:
    answer = await get(gateway, "/readyz")
    checks = answer.json()["checks"]
    checks.pop("backlog", None)  # on this Valkey other tests leave what nobody flushes
    return answer.status_code, checks


async def start(recorder: Recorder, token: str) -> None:
    """Only the first frame."""
    await recorder.send(type="start", token=token, session_id=recorder.session_id)


async def ended(recorder: Recorder) -> tuple[int | None, str]:
    """The close code, and the fatal error's before it."""
    code = await recorder.closed()
    assert recorder.received[-1]["fatal"]
    return code, recorder.received[-1]["code"]


# Keys that are known --------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "key_id"), [(RSA, "r1"), (EC, "e1")], ids=["RS256", "ES256"])
async def test_a_recorder_a_dashboard_and_a_request_with_tokens_of_either_algorithm(
    gateway: Served, provider: Provider, organization: str, key: Any, key_id: str
) -> None:
    token = signed(key, key_id, org_id=organization)
    async with (
        recording(gateway, organization) as recorder,
        watching(gateway, organization) as dashboard,
    ):
        await recorder.start(token=token)
        await recorder.hear(0, 1)
        await recorder.acked(1)
        await dashboard.send(type="subscribe", token=token)
        assert (await dashboard.one("usage"))["usage"]["used_seconds"] == 2
        answer = await check_limit(gateway, token)
        assert (answer.status_code, answer.json()["used_seconds"]) == (200, 2)
        await recorder.send(type="refresh", token=signed(RSA, "r1", org_id=organization))
        await dashboard.send(type="refresh", token=signed(RSA, "r1", org_id=organization))
        await recorder.hear(1, 2)
        await recorder.acked(2)
    assert not [each for each in recorder.received + dashboard.received if each["type"] == "error"]
    assert len(provider.requests) == 1
    assert await readiness(gateway) == (
        200,
        {"gateway": "ok", "redis": "ok", "postgres": "ok", "jwks": "ok"},
    )


async def test_a_token_of_a_shared_secret_or_by_another_key_is_refused(gateway: Served) -> None:
    for token in (signed_with_a_secret("acme"), signed(NEW, "r1")):
        answer = await check_limit(gateway, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")
        async with recording(gateway) as recorder:
            await start(recorder, token)
            assert await ended(recorder) == (4505, "token_refused")
        async with watching(gateway, "acme") as dashboard:
            await dashboard.send(type="subscribe", token=token)
            assert await ended(dashboard) == (4505, "token_refused")


# Keys that come and go ------------------------------------------------------------------------


async def test_after_a_rotation_new_tokens_are_good_everywhere_and_live_sessions_go_on(
    gateway: Served, provider: Provider, organization: str
) -> None:
    async with recording(gateway, organization) as recorder:
        await recorder.start(token=signed(RSA, "r1", org_id=organization))
        provider.keys = [jwk(NEW, "r2")]
        answer = await check_limit(gateway, signed(NEW, "r2", org_id=organization))
        assert answer.status_code == 200
        await recorder.hear(0, 1)
        await recorder.acked(1)
        answer = await check_limit(gateway, signed(RSA, "r1", org_id=organization))
        assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")


@pytest.mark.parametrize("way", ["start", "refresh", "subscribe", "refresh a subscription"])
async def test_a_new_key_is_looked_for_wherever_a_token_comes(
    gateway: Served, provider: Provider, organization: str, way: str
) -> None:
    old, new = (signed(*pair, org_id=organization) for pair in ((RSA, "r1"), (NEW, "r2")))
    async with (
        recording(gateway, organization) as recorder,
        watching(gateway, organization) as dashboard,
    ):
        if way == "refresh":
            await recorder.start(token=old)
        elif way == "refresh a subscription":
            await dashboard.send(type="subscribe", token=old)
            await dashboard.one("usage")
        provider.keys.append(jwk(NEW, "r2"))
        if way == "start":
            await recorder.start(token=new)
        elif way == "subscribe":
            await dashboard.send(type="subscribe", token=new)
            await dashboard.one("usage")
        elif way == "refresh":
            await recorder.send(type="refresh", token=new)
            await until(lambda: keys_of(gateway).knows("r2"))
            await recorder.hear(0, 0)
            await recorder.acked(0)
        else:
            await dashboard.send(type="refresh", token=new)
            await until(lambda: keys_of(gateway).knows("r2"))
            await dashboard.send(type="nonsense")  # answered in turn
            assert (await dashboard.one("error"))["code"] == "unknown_type"
        assert not [each for each in recorder.received if each["type"] == "error"]
        assert [each["code"] for each in dashboard.received if each["type"] == "error"] in (
            [],
            ["unknown_type"],
        )
    assert len(provider.requests) == 2


async def test_looking_for_a_key_may_take_longer_than_the_first_frame(
    valkey_server: EmbeddedValkey, provider: Provider, organization: str
) -> None:
    variables = {
        "METER_JWT_SECRET": None,
        "METER_JWKS_URL": provider.url,
        "METER_START_TIMEOUT_SECONDS": 0.5,
    }
    ledger = Ledger.connect(valkey_server.url)
    new = signed(NEW, "r2", org_id=organization)
    async with serving(ledger, MemoryStorage(), **variables) as gateway:
        keys_of(gateway)._apart_seconds = APART
        await until(lambda: keys_of(gateway).available)
        provider.keys.append(jwk(NEW, "r2"))
        provider.pause_seconds = 2.0
        async with (
            recording(gateway, organization) as recorder,
            watching(gateway, organization) as dashboard,
        ):
            began = time.monotonic()
            await dashboard.send(type="subscribe", token=new)
            assert (await recorder.start(token=new))["session_id"] == recorder.session_id
            assert (await dashboard.one("usage"))["usage"]["unlimited"]
            assert time.monotonic() - began >= provider.pause_seconds


# The URL away ---------------------------------------------------------------------------------


async def test_a_gateway_starts_without_the_keys_and_has_them_later(
    valkey_server: EmbeddedValkey, provider: Provider, organization: str
) -> None:
    provider.go_away()
    token = signed(RSA, "r1", org_id=organization)
    async with gateway_of(valkey_server, provider) as gateway:
        status, checks = await readiness(gateway)
        assert (status, checks["jwks"]) == (503, "unavailable")
        async with recording(gateway) as recorder, watching(gateway, organization) as dashboard:
            await start(recorder, token)
            await dashboard.send(type="subscribe", token=token)
            assert await ended(recorder) == (4004, "storage_unavailable")
            assert await ended(dashboard) == (4004, "storage_unavailable")
        answer = await check_limit(gateway, token)
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        provider.come_back()
        await until(lambda: keys_of(gateway).available)
        assert (await readiness(gateway))[0] == 200
        assert (await check_limit(gateway, token)).status_code == 200


async def test_while_the_url_is_away_the_old_keys_do_and_sessions_go_on(
    gateway: Served, provider: Provider, organization: str
) -> None:
    old, new = (signed(*pair, org_id=organization) for pair in ((RSA, "r1"), (NEW, "r2")))
    async with (
        recording(gateway, organization) as recorder,
        watching(gateway, organization) as dashboard,
    ):
        await recorder.start(token=old)
        await dashboard.send(type="subscribe", token=old)
        await dashboard.one("usage")
        provider.go_away()
        for client in (recorder, dashboard):
            for _ in range(25):  # more than the bad frames that are put up with
                await client.send(type="refresh", token=new)
            error = await client.one("error")
            assert (error["code"], error["fatal"]) == ("token_refused", False)
            assert "now" in error["message"]
        await recorder.hear(0, 1)
        await recorder.acked(1)
        await until(lambda: dashboard.used == 2)
        assert (await check_limit(gateway, old)).status_code == 200
        assert (await check_limit(gateway, new)).status_code == 503
        assert (await readiness(gateway))[0] == 200


# Keys that nobody has -------------------------------------------------------------------------


async def test_a_storm_of_unknown_keys_costs_few_fetches_and_disturbs_nobody(
    gateway: Served, provider: Provider, organization: str
) -> None:
    good = signed(EC, "e1", org_id=organization)
    unknown = [signed(NEW, f"unknown-{number}") for number in range(50)]
    keys_of(gateway)._apart_seconds = 1.0
    begun = time.monotonic()

    async def record(token: str) -> None:
        async with recording(gateway) as recorder:
            await start(recorder, token)
            assert await ended(recorder) == (4505, "token_refused")

    async def watch(token: str) -> None:
        async with watching(gateway, organization) as dashboard:
            await dashboard.send(type="subscribe", token=token)
            assert await ended(dashboard) == (4505, "token_refused")

    async def ask(token: str) -> None:
        assert (await check_limit(gateway, token)).status_code == 401

    async with recording(gateway, organization) as recorder:
        await recorder.start(token=good)
        storm = asyncio.gather(*(call(each) for each in unknown[:40] for call in (record, watch)))
        rest = asyncio.gather(*(ask(each) for each in unknown[40:]))
        asked = time.monotonic()
        assert (await check_limit(gateway, good)).status_code == 200
        assert time.monotonic() - asked < 30
        await recorder.hear(0, 0)
        await recorder.acked(0)
        await asyncio.gather(storm, rest)
    assert len(provider.requests) <= 2 + (time.monotonic() - begun) / 1.0


async def test_of_many_refreshes_with_unknown_keys_one_waits(
    gateway: Served, provider: Provider, organization: str
) -> None:
    async with recording(gateway, organization) as recorder:
        await recorder.start(token=signed(RSA, "r1", org_id=organization))
        provider.pause_seconds = 0.3
        for number in range(50):
            token = signed(NEW, f"unknown-{number}", org_id=organization)
            await recorder.send(type="refresh", token=token)
        provider.keys.append(jwk(NEW, "r2"))
        token = signed(NEW, "r2", org_id=organization, scope="usage")
        await recorder.send(type="refresh", token=token)
        error = await recorder.one("error")
        assert error["code"] == "not_allowed"  # the last one: a good token of another scope
        assert [each["type"] for each in recorder.received].count("error") == 1
        assert len(provider.requests) <= 4


async def test_clients_that_leave_while_their_key_is_looked_for(
    gateway: Served, provider: Provider, organization: str
) -> None:
    provider.pause_seconds = 0.3
    async with recording(gateway) as recorder, watching(gateway, organization) as dashboard:
        await start(recorder, signed(NEW, "r2"))
        await dashboard.send(type="subscribe", token=signed(NEW, "r2"))
        await until(lambda: len(provider.requests) == 2)
    parts = gateway.parts
    await until(lambda: not parts.recorders.connections and not parts.dashboards.connections)
    assert (await check_limit(gateway, signed(RSA, "r1"))).status_code == 200


# What is written down -------------------------------------------------------------------------


async def test_neither_tokens_nor_the_url_are_logged(
    valkey_server: EmbeddedValkey,
    provider: Provider,
    organization: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("websockets.client", "httpx", "httpcore"):  # the tests' own
        caplog.set_level(logging.CRITICAL, name)
    caplog.set_level(logging.DEBUG)
    good, bad = signed(RSA, "r1", org_id=organization), signed(NEW, "r2", org_id=organization)
    provider.status = 500
    async with gateway_of(valkey_server, provider) as gateway:
        await until(lambda: "HTTP 500" in caplog.text)
        assert (await check_limit(gateway, good)).status_code == 503
        provider.status = 200
        await until(lambda: keys_of(gateway).available)
        for token in (good, bad):
            await check_limit(gateway, token)
            await get(gateway, f"/api/usage/check-limit?token={token}", token)
            await get(gateway, f"/api/{token}", token)
            async with recording(gateway) as recorder, watching(gateway, organization) as dashboard:
                await start(recorder, token)
                await dashboard.send(type="subscribe", token=token)
                await dashboard.send(type="refresh", token=token)
                await until(lambda: bool(recorder.received) and bool(dashboard.received))
    assert "METER_JWKS_URL" in caplog.text
    for secret in (*good.split("."), *bad.split("."), provider.url, f":{provider.port}"):
        assert secret not in caplog.text
