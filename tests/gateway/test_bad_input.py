"""What no client should send, to each socket: a clear error, bounded time and memory, and nobody
else disturbed. The gateway is a process of its own, on a real Valkey and a real Postgres."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from command.embedded import EmbeddedPostgres
from command.embedded.files import free_port
from tests.gateway.hostile import (
    GARBAGE,
    HEARTBEATS,
    MEGABYTE,
    GatewayProcess,
    Witness,
    flood,
    frame_header,
    witnessing,
)
from tests.gateway.operating import operating
from tests.gateway.serving import Recorder, recording, token, until
from tests.gateway.watching import watching
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

pytestmark = pytest.mark.integration

SOCKETS = ("record", "usage", "ops")
DAY = 86_400
# Promised are 6 seconds (`ack_seconds`); undisturbed it is a batch's 50 ms.
SLOWEST_ACK_SECONDS = 2.0


@pytest.fixture(scope="module")
def gateway(postgres_server: EmbeddedPostgres, own_valkey: Valkey) -> Iterator[GatewayProcess]:
    with asyncio.Runner() as runner:
        database = cloned(postgres_server, "template0")
        url = runner.run(database.__aenter__())
        runner.run(migrate_at(url))
        process = GatewayProcess(url, own_valkey.url, free_port())
        process.wait_until_it_listens()
        yield process
        process.stop()
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
async def witness(gateway: GatewayProcess) -> AsyncIterator[Witness]:
    """There during the whole test; see `witnessing` for what it holds the gateway to."""
    async with witnessing(gateway, SLOWEST_ACK_SECONDS) as witness:
        yield witness


def connecting(gateway: GatewayProcess, path: str) -> AbstractAsyncContextManager[Recorder]:
    """A connection to one of the sockets."""
    if path == "record":
        return recording(gateway)
    return watching(gateway, "acme") if path == "usage" else operating(gateway)


async def begin(client: Any, path: str) -> None:
    """Through to the first answer."""
    await (client.start() if path == "record" else client.subscribe())


async def goes_on(client: Any, path: str) -> None:
    """The connection takes good messages still."""
    if path == "record":
        await client.hear(0, 1)
        await client.acked(1)
        return
    before = len(client.received)
    await client.send(type="refresh", token="no token")
    await client.one("error", code="token_refused", fatal=False)
    assert len(client.received) > before


@asynccontextmanager
async def begun(gateway: GatewayProcess, path: str) -> AsyncIterator[Any]:
    """A connection that has its session or subscription."""
    async with connecting(gateway, path) as client:
        await begin(client, path)
        yield client


@pytest.mark.parametrize("path", SOCKETS)
async def test_garbage_gets_an_error_each_and_the_connection_goes_on(
    gateway: GatewayProcess, witness: Witness, path: str
) -> None:
    frames = [*GARBAGE.values(), *(HEARTBEATS.values() if path == "record" else ())]
    for at in range(0, len(frames), 15):  # too many of them end the connection
        for early in (True, False):
            async with connecting(gateway, path) as client:
                if not early:
                    await begin(client, path)
                for frame in frames[at : at + 15]:
                    seen = len(client.received)
                    await client.socket.send(frame, text=True)
                    error = await _answer(client, seen, frame)
                    known = ("bad_message", "unknown_type", "not_started")
                    assert error["code"] in known, (frame[:40], error)
                    assert error["fatal"] is False
                    assert len(error["message"]) < 300
                if early:
                    await begin(client, path)
                await goes_on(client, path)


async def _answer(client: Recorder, seen: int, frame: bytes) -> dict[str, Any]:
    """The first error after those messages that were seen before."""
    deadline = time.monotonic() + 30
    while not (errors := [e for e in client.received[seen:] if e["type"] == "error"]):
        assert time.monotonic() < deadline, (frame[:40], client.received, client.socket.close_code)
        await asyncio.sleep(0.005)
    return errors[0]


@pytest.mark.parametrize("path", SOCKETS)
async def test_text_that_is_no_utf_8_gets_an_error_or_ends_the_connection(
    gateway: GatewayProcess, witness: Witness, path: str
) -> None:
    for frame in (b"\x80\x81", b'{"type":"refresh","token":"\xed\xa0\x80"}'):
        async with begun(gateway, path) as client:
            await client.socket.send(frame, text=True)
            if path == "record":
                await client.one("error", code="bad_message", fatal=False)
                await goes_on(client, path)
            else:
                assert await client.closed() == 1007  # RFC 6455, 8.1


@pytest.mark.parametrize("path", SOCKETS)
async def test_frames_of_a_megabyte_are_not_read(
    gateway: GatewayProcess, witness: Witness, path: str
) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        clients = [await enter(connecting(gateway, path)) for _ in range(40)]
        for client in clients[:20]:  # all of it at once
            client.socket.transport.write(frame_header(MEGABYTE) + b"x" * MEGABYTE)
        for client in clients[20:]:  # only that it comes, and some of it
            client.socket.transport.write(frame_header(1 << 40) + b"x" * 3000)
        for client in clients:
            assert await client.closed() in (1009, 1006)


@pytest.mark.parametrize("path", SOCKETS)
async def test_ten_thousand_beginnings_on_one_connection_end_it(
    gateway: GatewayProcess, witness: Witness, path: str
) -> None:
    async with begun(gateway, path) as client:
        again: dict[str, object] = {"type": "subscribe", "token": token(client.organization)}
        if path == "record":
            again |= {"type": "start", "session_id": str(uuid4())}
        frame = json.dumps(again)
        await flood(client.socket, frame, 10_000)
        assert await client.closed() in (4504, 1006)
        codes = [each["code"] for each in client.received if each["type"] == "error"]
        assert set(codes) <= {"already_started", "bad_message"}
        assert len(codes) <= 21


async def test_the_same_second_twenty_thousand_times_ends_the_connection(
    gateway: GatewayProcess, witness: Witness
) -> None:
    async with begun(gateway, "record") as client:
        await flood(client.socket, json.dumps({"type": "heartbeat", "second": 0}), 20_000)
        assert await client.closed() in (4002, 1006)
        assert {each["code"] for each in client.received if each["type"] == "error"} <= {
            "overloaded"
        }


async def test_ten_thousand_starts_before_the_first_is_answered_open_one_session(
    gateway: GatewayProcess, witness: Witness
) -> None:
    async with recording(gateway) as recorder:
        start = {"type": "start", "token": token(recorder.organization)}
        frames = [json.dumps({**start, "session_id": str(uuid4())}) for _ in range(10_000)]
        for frame in frames:
            if await flood(recorder.socket, frame, 1) == 0:
                break
        assert await recorder.closed() in (4504, 1006)
        assert len([each for each in recorder.received if each["type"] == "started"]) <= 1


@pytest.mark.parametrize("last", [1_000_000, 2**53])
async def test_a_million_seconds_in_one_range_count_those_that_the_clock_allows(
    gateway: GatewayProcess, witness: Witness, last: int
) -> None:
    async with recording(gateway) as recorder:
        started = await recorder.start()
        await recorder.send(type="heartbeat", **{"from": -last, "to": last})
        codes = {(await recorder.one("error", code=code))["code"] for code in _REFUSED}
        assert codes == _REFUSED
        await recorder.acked(0)
        elapsed = time.time() - started["origin"]
        assert (await recorder.one("ack"))["session_seconds"] <= elapsed + 3


_REFUSED = {"second_in_future", "second_too_late"}


async def test_a_day_of_seconds_sent_again_and_again_holds_nobody_up(
    gateway: GatewayProcess, witness: Witness
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(recording(gateway)) for _ in range(80)]
        for client in clients:
            await client.start(origin=int(time.time()) - DAY + 600)
            await client.hear(0, DAY - 600)
        for _ in range(30):
            for client in clients:
                await client.hear(0, DAY - 600)
            await asyncio.sleep(0.03)
        for client in clients:
            ack = await client.acked(DAY - 700)
            assert DAY - 700 < ack["session_seconds"] <= DAY


async def test_seconds_with_a_gap_after_each_are_counted_and_hold_nobody_up(
    gateway: GatewayProcess, witness: Witness
) -> None:
    seconds = range(0, 30_000, 2)
    async with recording(gateway) as recorder:
        await recorder.start(origin=int(time.time()) - DAY + 600)
        for second in seconds:
            await recorder.send(type="heartbeat", second=second)
        ack = await recorder.acked(seconds[-1])
        assert ack["session_seconds"] == len(seconds)


async def test_ids_of_other_tenants_open_show_and_stop_nothing(
    gateway: GatewayProcess, witness: Witness
) -> None:
    victim = witness.recorder
    for organization in (victim.organization, "another"):
        async with recording(gateway, organization, victim.session_id) as thief:
            mallory = token(organization, "mallory")
            await thief.send(type="start", token=mallory, session_id=victim.session_id)
            await thief.one("error", code="not_allowed", fatal=True)
            assert await thief.closed() == 4506
    async with watching(gateway, "another") as dashboard:
        shown = await dashboard.subscribe("mallory")
        assert (shown["active_sessions"], shown["usage"]["used_seconds"]) == ([], 0)
    async with operating(gateway) as operator:
        await operator.ask({"scope": "record usage"})
        await operator.one("error", code="not_allowed", fatal=True)
        with suppress(ConnectionClosed):
            await operator.send(type="stop", session_id=victim.session_id)
        assert await operator.closed() == 4506


UNKEPT = (
    '{"a":' * 600 + "1" + "}" * 600,
    '{"a":' + "[" * 990 + "]" * 990 + "}",
    '{"a":' + "[" * 32 + "]" * 32 + "}",
    '{"a":"\\u0000"}',
    '{"a":"\\ud800"}',
    '{"a":NaN}',
)


async def test_metadata_that_cannot_be_kept_is_refused_before_anything_begins(
    gateway: GatewayProcess, witness: Witness
) -> None:
    async with recording(gateway) as recorder:
        signed = token(recorder.organization)
        start = {"type": "start", "token": signed, "session_id": recorder.session_id}
        for metadata in UNKEPT:
            seen = len(recorder.received)
            await recorder.socket.send(json.dumps({**start, "metadata": 0})[:-2] + metadata + "}")
            await until(lambda seen=seen: len(recorder.received) > seen)  # type: ignore[misc]
            assert recorder.received[-1]["code"] == "bad_message"
        await recorder.start(metadata={"a": [[[]]]})


async def test_organizations_of_odd_names_have_no_sessions(
    gateway: GatewayProcess, witness: Witness
) -> None:
    async with operating(gateway) as operator:
        await operator.subscribe()
        for odd in ("\x00", "' or 1=1 --", "{1}", "*", "mm:{00}:live", "\n", "😀" * 100):
            seen = len(operator.pages)
            await operator.send(type="subscribe", organization_id=odd)
            await until(lambda seen=seen: len(operator.pages) > seen)  # type: ignore[misc]
            assert operator.pages[-1]["sessions"] == []
