"""Keys from a URL: which are taken, when they are fetched, and what holds while the URL is away."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count, pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.jwks import ALGORITHMS, MAX_BYTES, KeysUnavailable, RemoteKeys, fetch, parse
from tests.gateway.provider import Provider, ec_key, jwk, providing, rsa_key
from tests.gateway.serving import until

RSA, OTHER, EC = rsa_key("first"), rsa_key("second"), ec_key("first")
APART = 0.3


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing(jwk(RSA, "r1"), jwk(EC, "e1")) as provider:
        yield provider


def remote(provider: Provider, refresh_seconds: float = 60.0) -> RemoteKeys:
    return RemoteKeys(
        provider.url, refresh_seconds=refresh_seconds, apart_seconds=APART, timeout_seconds=20.0
    )


@asynccontextmanager
async def running(keys: RemoteKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    yield
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def parsed(*entries: object) -> set[tuple[str, str]]:
    """What is taken of a set, beside one good key."""
    document = json.dumps({"keys": [*entries, jwk(EC, "good")]}).encode()
    return set(parse(document)) - {("good", "ES256")}


# What a set holds -----------------------------------------------------------------------------


def test_keys_are_known_by_id_and_algorithm() -> None:
    keys = parse(json.dumps({"keys": [jwk(RSA, "one"), jwk(EC, "one")]}).encode())
    assert keys == {("one", "RS256"): RSA.public_key(), ("one", "ES256"): EC.public_key()}


@pytest.mark.parametrize(
    "entry",
    [
        jwk(RSA, "k", use=None, alg=None),
        jwk(RSA, "k", key_ops=["verify"]),
        jwk(EC, "k", use=None, alg=None),
        jwk(EC, "k", x5c=["ignored"], d="ignored"),
    ],
    ids=count(),  # keys differ from run to run
)
def test_members_that_may_be_missing(entry: dict[str, object]) -> None:
    assert {key_id for key_id, _ in parsed(entry)} == {"k"}


@pytest.mark.parametrize(
    "entry",
    [
        jwk(RSA, "k", use="enc"),
        jwk(RSA, "k", use=["sig"]),
        jwk(RSA, "k", alg="RS512"),
        jwk(RSA, "k", alg="PS256"),
        jwk(RSA, "k", alg="ES256"),
        jwk(RSA, "k", alg="HS256"),
        jwk(RSA, "k", key_ops=["encrypt"]),
        jwk(RSA, "k", key_ops="verify"),
        jwk(RSA, "k", n="AQ"),
        jwk(RSA, "k", n="!"),
        jwk(RSA, "k", n=5),
        jwk(RSA, "k", e="AQ"),
        jwk(RSA, "k", e=None),
        jwk(RSA, None),
        jwk(RSA, "k", kid=5),
        jwk(rsa_key("short", 1024), "k"),
        jwk(EC, "k", alg="RS256"),
        jwk(EC, "k", use="enc"),
        jwk(EC, "k", crv="P-384"),
        jwk(EC, "k", x="AAAA"),
        jwk(EC, "k", y=jwk(EC, "k")["x"]),
        jwk(ec_key("wide", ec.SECP384R1), "k", alg="ES384"),
        jwk(ec_key("wide", ec.SECP384R1), "k"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"},
        {"kty": "RSA", "kid": "k"},
        {},
        None,
        "key",
        [[]],
    ],
    ids=count(),
)
def test_other_keys_are_left_out(entry: object) -> None:
    assert parsed(entry) == set()


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"<html>", b"null", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[5]}'),
        *(b"[" * 10_000, b'{"keys":' * 10_000, b"\xff\xfe", b'{"keys":NaN}'),
    ],
    ids=count(),
)
def test_what_holds_no_key_is_no_set(document: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        parse(document)


# One fetch ------------------------------------------------------------------------------------


def test_a_fetch(provider: Provider) -> None:
    assert set(fetch(provider.url)) == {("r1", "RS256"), ("e1", "ES256")}


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 500, 503])
def test_only_200_is_an_answer(provider: Provider, status: int) -> None:
    provider.status = status
    provider.headers = {"Location": "/elsewhere"}
    with pytest.raises(KeysUnavailable, match=f"^HTTP {status}$"):
        fetch(provider.url)
    assert [path for _, path in provider.requests] == ["/.well-known/jwks.json"]


def test_a_body_has_a_longest_length(provider: Provider) -> None:
    body = json.dumps({"keys": provider.keys}).encode()
    provider.body = body + b" " * (MAX_BYTES - len(body))
    assert fetch(provider.url)
    provider.body += b" "
    with pytest.raises(KeysUnavailable, match="longer"):
        fetch(provider.url)


def test_a_fetch_has_a_longest_time(provider: Provider) -> None:
    provider.pause_seconds = 2.0
    begun = time.monotonic()
    with pytest.raises(KeysUnavailable, match="TimeoutError"):
        fetch(provider.url, 0.2)
    assert time.monotonic() - begun < 1.5


def test_a_failure_does_not_repeat_the_url(provider: Provider) -> None:
    provider.go_away()
    with pytest.raises(KeysUnavailable) as failed:
        fetch(f"{provider.url}?key=hidden")
    assert str(failed.value) == "ConnectionRefusedError"


# Over time ------------------------------------------------------------------------------------


async def test_keys_are_there_from_the_start_on_and_are_kept_fresh(provider: Provider) -> None:
    keys = remote(provider, refresh_seconds=0.1)
    assert not keys.available
    async with running(keys):
        await until(lambda: keys.available)
        assert keys.find("r1", "RS256") == RSA.public_key()
        assert keys.find("e1", "ES256") == EC.public_key()
        assert keys.find("e1", "RS256") is None
        provider.keys = [jwk(OTHER, "r2")]
        await until(lambda: keys.knows("r2"))
        assert not keys.knows("r1")  # withdrawn
    assert set(ALGORITHMS) == {"RS256", "ES256"}


async def test_an_unknown_key_is_fetched_at_once(provider: Provider) -> None:
    keys = remote(provider)
    await keys.look_for("r1")
    assert keys.knows("r1")
    await keys.look_for("r1")
    assert len(provider.requests) == 1


async def test_however_many_unknown_keys_are_asked_for_fetches_are_apart(
    provider: Provider,
) -> None:
    keys = remote(provider)
    async with running(keys):
        await until(lambda: keys.available)
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5 * APART:
            await asyncio.gather(*(keys.look_for(f"unknown-{n}") for n in range(50)))
        times = [at for at, _ in provider.requests]
        assert 2 <= len(times) <= 5
        gaps = [after - before for before, after in pairwise(times)]
        assert min(gaps) > APART * 0.8


async def test_who_asks_for_a_new_key_between_two_fetches_waits_for_it(provider: Provider) -> None:
    keys = remote(provider)
    await keys.look_for("r1")
    provider.keys.append(jwk(OTHER, "r2"))
    await keys.look_for("r2")
    assert keys.knows("r2")
    assert len(provider.requests) == 2


async def test_a_fetch_that_began_before_the_question_is_no_answer(provider: Provider) -> None:
    keys = remote(provider)
    provider.pause_seconds = 0.2  # the answer is made before the pause
    first = asyncio.create_task(keys.look_for("nobody"))
    await until(lambda: len(provider.requests) == 1)
    await asyncio.sleep(0.05)
    provider.keys.append(jwk(OTHER, "r2"))
    await keys.look_for("r2")
    assert keys.knows("r2")
    await first


async def test_the_loop_runs_on_during_a_fetch(provider: Provider) -> None:
    keys = remote(provider)
    provider.pause_seconds = 0.5
    asking = asyncio.create_task(keys.look_for("r1"))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns >= 5  # held up by it, the loop would make one or two
    assert keys.knows("r1")


async def test_who_leaves_does_not_end_the_others_fetch(provider: Provider) -> None:
    keys = remote(provider)
    provider.pause_seconds = 0.2
    leaving = asyncio.create_task(keys.look_for("r1"))
    staying = asyncio.create_task(keys.look_for("e1"))
    await until(lambda: len(provider.requests) == 1)
    leaving.cancel()
    await staying
    assert keys.knows("e1")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("fault", ["away", "500", "garbage", "empty", "huge"])
async def test_the_old_keys_are_kept_until_there_are_new_ones(
    provider: Provider, fault: str
) -> None:
    keys = remote(provider, refresh_seconds=0.05)
    async with running(keys):
        await until(lambda: keys.available)
        new = [jwk(OTHER, "r2")]
        match fault:
            case "away":
                provider.go_away()
            case "500":
                provider.status = 500
                provider.keys = list(new)
            case "garbage":
                provider.body = b"<html>sign in</html>"
            case "empty":
                provider.keys = []
            case _:
                provider.body = json.dumps({"keys": new}).encode() + b" " * MAX_BYTES
        with pytest.raises(KeysUnavailable):
            await keys.look_for("r2")
        begun = time.monotonic()
        with pytest.raises(KeysUnavailable):  # at once: it is known to be away
            await keys.look_for("r2")
        assert time.monotonic() - begun < APART / 2
        assert keys.available
        assert keys.find("r1", "RS256") == RSA.public_key()
        provider.status, provider.body, provider.keys = 200, None, list(new)
        if fault == "away":
            provider.come_back()
        await until(lambda: keys.knows("r2"))
        assert not keys.knows("r1")


async def test_a_url_that_is_away_from_the_start_on_is_asked_again(provider: Provider) -> None:
    provider.go_away()
    keys = remote(provider)
    async with running(keys):
        with pytest.raises(KeysUnavailable):
            await keys.look_for("r1")
        assert not keys.available
        provider.come_back()
        await until(lambda: keys.available)


async def test_a_fetch_that_never_ends_keeps_one_thread(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    begun: list[str] = []

    def endless(url: str, _: float) -> None:
        begun.append(url)
        ended.wait()

    monkeypatch.setattr("gateway.jwks.fetch", endless)
    monkeypatch.setattr("gateway.jwks._THREAD_SECONDS", 0.0)
    keys = RemoteKeys(provider.url, apart_seconds=0.01, timeout_seconds=0.1)
    with pytest.raises(KeysUnavailable, match="in time"):
        await keys.look_for("r1")
    await asyncio.sleep(0.02)
    with pytest.raises(KeysUnavailable, match="hasn't ended"):
        await keys.look_for("r1")
    assert len(begun) == 1
    ended.set()
    monkeypatch.setattr("gateway.jwks.fetch", fetch)
    await asyncio.sleep(0.05)
    await keys.look_for("r1")
    assert keys.knows("r1")


async def test_trouble_nobody_thought_of_does_not_end_the_refreshing(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(url: str, _: float) -> None:
        raise RuntimeError(url)

    monkeypatch.setattr("gateway.jwks.fetch", broken)
    keys = remote(provider, refresh_seconds=0.05)
    async with running(keys):
        with pytest.raises(KeysUnavailable):
            await keys.look_for("r1")
        monkeypatch.setattr("gateway.jwks.fetch", fetch)
        await until(lambda: keys.available)
    assert "RuntimeError" in caplog.text
    assert "in broken" in caplog.text  # where it was
    assert provider.url not in caplog.text
