"""`/v1/record` on a real socket, with a real Valkey."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from fakeredis import FakeAsyncRedis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from command.embedded import EmbeddedValkey
from meter.ledger.driver import Ledger
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import (
    Served,
    begun_before,
    counted,
    flush,
    recording,
    serving,
    settings,
    token,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def ledger(valkey_server: EmbeddedValkey) -> AsyncIterator[Ledger]:
    """A client of the test's own."""
    ledger = Ledger.connect(valkey_server.url)
    yield ledger
    await ledger.aclose()


@pytest.fixture
async def gateway(valkey_server: EmbeddedValkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    async with serving(
        Ledger.connect(valkey_server.url), storage, METER_ALLOWED_ORIGINS="https://good.example"
    ) as served:
        yield served


async def test_a_session_from_start_to_stopped(
    gateway: Served, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with recording(gateway) as recorder:
        assert recorder.socket.subprotocol == "minute-meter.v1"
        started = await recorder.start(kind="interview", metadata={"room": 5})
        assert started["resumed"] is False
        assert abs(started["server_time"] - started["origin"]) < 1.5
        await recorder.hear(0, 1)
        ack = await recorder.acked(1)
        assert (ack["session_seconds"], ack["durable_through"], ack["heartbeats"]) == (2, -1, 1)
        await recorder.send(type="stop")
        stopped = await recorder.one("stopped")
        assert (stopped["reason"], stopped["session_seconds"]) == ("stopped", 2)
        assert await recorder.closed() == 1000
        await flush(ledger, storage)
        assert storage.seconds(recorder.session_id) == {0, 1}


async def test_a_session_on_a_stand_in_for_redis(storage: MemoryStorage) -> None:
    ledger = Ledger(FakeAsyncRedis(), settings().rules)
    async with serving(ledger, storage) as gateway, recording(gateway) as recorder:
        await recorder.start()
        await recorder.hear(0, 1)
        await recorder.acked(1)
        await recorder.send(type="stop")
        assert (await recorder.one("stopped"))["session_seconds"] == 2
        assert await recorder.closed() == 1000


@pytest.mark.parametrize("subprotocols", [(), ("other",), ("other", "minute-meter.v1")])
async def test_the_subprotocol_is_chosen_where_it_is_offered(
    gateway: Served, subprotocols: tuple[str, ...]
) -> None:
    async with recording(gateway, subprotocols=subprotocols) as recorder:
        chosen = "minute-meter.v1" if "minute-meter.v1" in subprotocols else None
        assert recorder.socket.subprotocol == chosen
        await recorder.start()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://good.example.evil"])
async def test_a_page_of_a_foreign_origin_may_not_record(gateway: Served, origin: str) -> None:
    async with recording(gateway, origin=origin) as recorder:
        error = await recorder.one("error")
        assert (error["code"], error["fatal"]) == ("not_allowed", True)
        assert await recorder.closed() == 4506


async def test_the_gateways_own_page_may_record(gateway: Served) -> None:
    async with recording(gateway, origin=gateway.url("", "http")) as recorder:
        assert (await recorder.start())["session_id"] == recorder.session_id


async def test_a_page_of_an_allowed_origin_may_record(gateway: Served) -> None:
    async with recording(gateway, origin="https://good.example") as recorder:
        assert (await recorder.start())["session_id"] == recorder.session_id


@pytest.mark.parametrize(
    ("claims", "code", "close"),
    [
        ({"exp": 1}, "token_expired", 4001),
        ({"sub": ""}, "token_refused", 4505),
        ({"scope": "usage"}, "not_allowed", 4506),
    ],
)
async def test_bad_tokens_are_refused(
    gateway: Served, claims: dict[str, Any], code: str, close: int
) -> None:
    async with recording(gateway) as recorder:
        bad = token("acme", **claims)
        await recorder.send(type="start", token=bad, session_id=recorder.session_id)
        error = await recorder.one("error", code=code)
        assert error["fatal"] is True
        assert bad not in str(recorder.received)
        assert await recorder.closed() == close


async def test_another_users_session_is_not_resumed(gateway: Served) -> None:
    async with recording(gateway) as owner, recording(gateway, owner.organization) as other:
        await owner.start()
        other.session_id = owner.session_id
        mallory = token(owner.organization, "mallory")
        await other.send(type="start", token=mallory, session_id=owner.session_id)
        await other.one("error", code="not_allowed")
        assert await other.closed() == 4506
        await owner.hear(0, 0)
        await owner.acked(0)


@pytest.mark.parametrize("size", [4097, 16_000])
async def test_a_frame_of_more_than_4_kib_is_a_bad_message(gateway: Served, size: int) -> None:
    frame = '{"type":"stop","later":"%s"}'
    frame %= "é" * ((size - len(frame) + 2) // 2) + "x" * (size % 2)
    assert len(frame.encode()) == size
    async with recording(gateway) as recorder:
        await recorder.socket.send(frame)
        error = await recorder.one("error")
        assert (error["code"], error["fatal"]) == ("bad_message", False)
        assert "4096 bytes" in error["message"]
        assert (await recorder.start())["resumed"] is False


@pytest.mark.parametrize("size", [20_000, 2_000_000])
async def test_a_frame_that_is_far_too_long_is_not_read(gateway: Served, size: int) -> None:
    async with recording(gateway) as recorder:
        with suppress(ConnectionClosed, ConnectionError):
            await recorder.socket.send("x" * size)
        assert await recorder.closed() in (1009, 1006)


async def test_a_frame_of_4_kib_is_none(gateway: Served) -> None:
    async with recording(gateway) as recorder:
        await recorder.start()
        await recorder.socket.send('{"type":"heartbeat","second":0}'.ljust(4096))
        assert (await recorder.acked(0))["session_seconds"] == 1


async def test_a_binary_frame_is_a_bad_message(gateway: Served) -> None:
    async with recording(gateway) as recorder:
        await recorder.start()
        await recorder.socket.send(b'{"type":"heartbeat","second":0}')
        await recorder.one("error", code="bad_message", fatal=False)
        await recorder.socket.send([b'{"type":"heart', b'beat","second":0}'])
        await recorder.hear(1, 1)
        assert (await recorder.acked(1))["session_seconds"] == 1


async def test_a_message_may_come_in_fragments(gateway: Served) -> None:
    async with recording(gateway) as recorder:
        await recorder.start()
        await recorder.socket.send(['{"type":"heart', 'beat","sec', 'ond":1}'])
        assert (await recorder.acked(1))["session_seconds"] == 1


async def test_endless_fragments_are_cut_off(gateway: Served) -> None:
    async with recording(gateway) as recorder:
        await recorder.socket.send(["x" * 1000] * 6)
        await recorder.one("error", code="bad_message")
        assert await recorder.closed() == 4504


async def test_fuzzed_frames_get_errors_and_end_in_4504(gateway: Served) -> None:
    chance = random.Random(7)
    for _ in range(20):
        async with recording(gateway) as recorder:
            await recorder.start()
            frame = bytearray(b'{"type":"heartbeat","from":0,"to":1}')
            for _ in range(60):
                position = chance.randrange(len(frame))
                frame[position] = chance.randrange(32, 127)
                with suppress(ConnectionClosed):
                    await recorder.socket.send(frame.decode())
            assert await recorder.closed() == 4504
    async with httpx.AsyncClient() as client:
        assert (await client.get(gateway.url("/healthz", "http"))).status_code == 200


async def test_bytes_that_are_no_websocket_frames_end_the_connection(gateway: Served) -> None:
    chance = random.Random(8)
    codes = set()
    for _ in range(20):
        async with recording(gateway) as recorder:
            recorder.socket.transport.write(chance.randbytes(200))
            recorder.socket.transport.write_eof()
            codes.add(await recorder.closed())
    assert 1002 in codes  # a protocol error; 1006 where it was lost with what nobody had read
    assert codes <= {1002, 1006}
    async with recording(gateway) as recorder:
        await recorder.start()
    await until(lambda: not gateway.parts.recorders.connections)


async def test_other_paths_are_not_found(gateway: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(gateway.url("/v1/nothing"))
    assert refused.value.response.status_code in (403, 404)


async def test_without_a_start_the_connection_is_closed(
    valkey_server: EmbeddedValkey, storage: MemoryStorage
) -> None:
    async with (
        serving(
            Ledger.connect(valkey_server.url), storage, METER_START_TIMEOUT_SECONDS=0.2
        ) as gateway,
        recording(gateway) as recorder,
    ):
        await recorder.one("error", code="no_start")
        assert await recorder.closed() == 4508


async def test_more_connections_than_allowed_are_turned_away(
    valkey_server: EmbeddedValkey, storage: MemoryStorage
) -> None:
    async with (
        serving(Ledger.connect(valkey_server.url), storage, METER_MAX_CONNECTIONS=1) as gateway,
        recording(gateway) as first,
        recording(gateway) as second,
    ):
        await second.one("error", code="overloaded")
        assert await second.closed() == 4002
        await first.start()


async def test_200_sessions_at_once_are_counted_exactly(
    gateway: Served, ledger: Ledger, storage: MemoryStorage
) -> None:
    expected: dict[str, set[int]] = {}

    async def record(number: int) -> None:
        chance = random.Random(number)
        async with recording(gateway, f"org-{number % 7}-of-200") as recorder:
            begun_before(storage, recorder, 300)
            await recorder.start()
            sent: set[int] = set()
            for _ in range(30):
                first = chance.randrange(290)
                last = min(first + chance.randrange(5), 290)
                sent |= set(range(first, last + 1))
                await recorder.hear(first, last)
                await asyncio.sleep(chance.random() * 0.02)
            await recorder.send(type="stop")
            stopped = await recorder.one("stopped", 60.0)
            assert stopped["session_seconds"] == len(sent)
            expected[recorder.session_id] = sent

    await asyncio.gather(*(record(number) for number in range(200)))
    await flush(ledger, storage)
    assert {each: storage.seconds(each) for each in expected} == expected
    await until(lambda: not gateway.parts.recorders.connections)
    assert gateway.parts.counter.speakers() == []


@asynccontextmanager
async def a_moment_later() -> AsyncIterator[None]:
    """Which of two gateways' connections is the later one is told by the millisecond."""
    await asyncio.sleep(0.01)
    yield


async def test_two_gateways_count_a_session_that_moves_once(
    gateway: Served, valkey_server: EmbeddedValkey, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with (
        serving(Ledger.connect(valkey_server.url), storage) as other_gateway,
        recording(gateway) as old,
        a_moment_later(),
        recording(other_gateway, old.organization, old.session_id) as new,
    ):
        begun_before(storage, old, 300)
        await old.start()
        await old.hear(0, 50)
        await old.acked(50)
        assert (await new.start())["counted_through"] == 50
        await asyncio.gather(old.hear(40, 80), new.hear(30, 100))
        assert await old.closed(10.0) == 4502
        await new.acked(100)
        await new.hear(101, 102)
        assert (await new.acked(102))["session_seconds"] == 103
        assert await counted(ledger, storage, new) == set(range(103))


async def test_the_later_connection_has_the_session_though_the_machines_clock_was_set_back(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    async with recording(gateway) as old:
        await old.start()
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        async with recording(gateway, old.organization, old.session_id) as new:
            monkeypatch.undo()  # tokens are good by this clock
            assert (await new.start())["resumed"]
            assert await old.closed(10.0) == 4502
            await new.hear(0, 0)
            await new.acked(0)


async def test_a_quiet_connection_learns_of_its_successor_by_itself(
    gateway: Served, valkey_server: EmbeddedValkey, storage: MemoryStorage
) -> None:
    async with (
        serving(Ledger.connect(valkey_server.url), storage) as other_gateway,
        recording(gateway) as old,
        a_moment_later(),
        recording(other_gateway, old.organization, old.session_id) as new,
    ):
        await old.start()
        await new.start()
        assert await old.closed(10.0) == 4502


async def test_what_an_aborted_connection_has_sent_is_counted(
    gateway: Served, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with recording(gateway) as recorder:
        begun_before(storage, recorder, 300)
        await recorder.start()
        await recorder.hear(0, 99)
        await recorder.hear(200, 250)
        await until(
            lambda: gateway.parts.counter._queue.__len__() > 0 or bool(recorder.received[1:])
        )
        await recorder.leave()
        await until(lambda: not gateway.parts.counter.speakers())
        assert await counted(ledger, storage, recorder) == {*range(100), *range(200, 251)}


async def test_the_limit_is_exact_over_gateways_and_everybody_is_stopped(
    gateway: Served, valkey_server: EmbeddedValkey, ledger: Ledger, storage: MemoryStorage
) -> None:
    organization = "org-with-a-limit"
    storage.limits[organization] = 500
    async with (
        serving(
            Ledger.connect(valkey_server.url), storage, METER_STOP_GRACE_SECONDS=0
        ) as other_gateway,
        AsyncExitStack() as stack,
    ):
        recorders = [
            await stack.enter_async_context(recording(where, organization))
            for where in (gateway, other_gateway) * 10
        ]
        quiet = await stack.enter_async_context(recording(other_gateway, organization))
        for recorder in [*recorders, quiet]:
            begun_before(storage, recorder, 300)
            await recorder.start()
        for second in range(0, 60, 2):
            for recorder in recorders:
                await recorder.hear(second, second + 1)
        await quiet.one("stop", 10.0, reason="limit_reached")
        for recorder in recorders:
            await recorder.one("stop", 10.0, reason="limit_reached")
        assert await quiet.closed() == 4500
        total = 0
        for recorder in recorders:
            total += len(await counted(ledger, storage, recorder))
        assert total == 500
        late = await stack.enter_async_context(recording(gateway, organization))
        await late.send(type="start", token=token(organization), session_id=late.session_id)
        await late.one("error", code="limit_reached")
        assert await late.closed() == 4500


async def test_a_client_that_does_not_read_is_cut_off_and_costs_no_memory(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.record.CLOSE_SECONDS", 0.5)
    async with recording(gateway) as recorder:
        await recorder.start()
        recorder.socket.transport.pause_reading()
        (connection,) = gateway.parts.recorders.connections
        assert connection._transport is not None
        kernel = connection._transport.underlying_transport.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)

        async def flood() -> None:
            while not recorder.socket.transport.is_closing():
                await recorder.socket.send('{"type":"heartbeat","second":86300}')
                await recorder.socket.send('{"type":"heartbeat","second":9007199254740992}')

        flooding = asyncio.create_task(flood())
        await until(lambda: not connection.connected, 30.0)
        assert not connection._outgoing
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(gateway.url("/metrics", "http"))).text
    assert 'meter_closes_total{code="4003"} 1.0' in metrics


def without_backlog(answer: httpx.Response) -> dict[str, str]:
    """The checks of /readyz but one: on this Valkey other tests leave what nobody flushes."""
    checks: dict[str, str] = answer.json()["checks"]
    return {name: state for name, state in checks.items() if name != "backlog"}


async def test_metrics_and_health(gateway: Served) -> None:
    async with recording(gateway) as recorder, httpx.AsyncClient() as client:
        await recorder.start()
        await recorder.hear(0, 1)
        await recorder.acked(1)
        metrics = await client.get(gateway.url("/metrics", "http"))
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "meter_connections 1.0" in metrics.text
        assert "meter_seconds_counted_total 2.0" in metrics.text
        ready = await client.get(gateway.url("/readyz", "http"))
        assert ready.status_code == 200
        assert ready.json()["status"] == "ready"
        assert without_backlog(ready) == {"gateway": "ok", "redis": "ok", "postgres": "ok"}
        assert "meter_undurable_seconds 2.0" in metrics.text
        assert (await client.get(gateway.url("/healthz", "http"))).json() == {"status": "ok"}


async def test_readyz_says_which_part_is_not(gateway: Served, storage: MemoryStorage) -> None:
    storage.down = True
    async with httpx.AsyncClient() as client:
        answer = await client.get(gateway.url("/readyz", "http"))
    assert answer.status_code == 503
    assert without_backlog(answer) == {
        "gateway": "ok",
        "redis": "ok",
        "postgres": "unavailable: StorageUnavailable",
    }
