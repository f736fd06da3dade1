"""Recorders while Redis dies, comes back, or comes back empty; and gateways that go away."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from command.embedded import EmbeddedValkey
from command.embedded.files import free_port
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.types import SessionKey
from tests.gateway.limited import Gateways
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import (
    SECRET,
    Address,
    Recorder,
    Served,
    begun_before,
    counted,
    flush,
    recording,
    serving,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey that a test may kill; it writes what it has done to its file at once or soon."""
    directory = Path(tempfile.mkdtemp(prefix="minute-meter-faults-"))
    server = EmbeddedValkey(directory)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def ledger(valkey: EmbeddedValkey) -> AsyncIterator[Ledger]:
    ledger = Ledger.connect(valkey.url)
    yield ledger
    await ledger.aclose()


@pytest.fixture
async def gateway(valkey: EmbeddedValkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    async with serving(Ledger.connect(valkey.url), storage) as served:
        yield served


async def restart(valkey: EmbeddedValkey, *, empty: bool) -> None:
    """Start it again after a kill, with its file or without."""
    if empty:
        shutil.rmtree(valkey.directory / "appendonlydir")
    await asyncio.to_thread(valkey.restart)


async def start_all(
    stack: AsyncExitStack, gateway: Served, storage: MemoryStorage, many: int, recorded: int
) -> list[Recorder]:
    """Sessions of three accounts that began before; their first seconds are durable."""
    recorders = []
    for number in range(many):
        recorder = await stack.enter_async_context(recording(gateway, f"org-{number % 3}"))
        begun_before(storage, recorder, 600, recorded)
        recorders.append(recorder)
    for recorder in recorders:
        await recorder.start()
    return recorders


async def all_acked(recorders: list[Recorder], through: int) -> None:
    await asyncio.gather(*(recorder.acked(through, 60.0) for recorder in recorders))


@pytest.mark.parametrize("empty", [False, True], ids=["with its file", "empty"])
async def test_redis_is_killed_in_mid_session(
    gateway: Served, valkey: EmbeddedValkey, ledger: Ledger, storage: MemoryStorage, empty: bool
) -> None:
    async with AsyncExitStack() as stack:
        recorders = await start_all(stack, gateway, storage, 30, 120)
        for recorder in recorders:
            await recorder.hear(120, 200)
        await all_acked(recorders, 200)
        valkey.kill()
        for recorder in recorders:
            await recorder.hear(190, 250)
            await recorder.hear(300, 310)
        await asyncio.sleep(0.3)
        gone = recorders.pop()  # and who leaves meanwhile loses nothing
        await gone.leave()
        await restart(valkey, empty=empty)
        await all_acked(recorders, 310)
        for recorder in recorders:
            await recorder.hear(311, 312)
        await all_acked(recorders, 312)
        assert all(recorder.socket.close_code is None for recorder in recorders)
        await until(lambda: len(gateway.parts.counter.speakers()) == len(recorders))
        heard = {*range(251), *range(300, 311)}
        assert await counted(ledger, storage, gone) == heard
        for recorder in recorders:
            assert await counted(ledger, storage, recorder) == {*heard, 311, 312}
        ack = recorders[0].received[-1]
        assert ack["session_seconds"] == len(heard) + 2


async def test_after_a_loss_an_account_has_what_its_sessions_have(
    gateway: Served, valkey: EmbeddedValkey, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with AsyncExitStack() as stack:
        recorders = await start_all(stack, gateway, storage, 12, 60)
        for recorder in recorders:
            await recorder.hear(50, 99)
        await all_acked(recorders, 99)
        valkey.kill()
        await restart(valkey, empty=True)
        for recorder in recorders:
            await recorder.hear(100, 101)
        await all_acked(recorders, 101)
        for recorder in recorders:
            await recorder.hear(102, 103)
            await recorder.acked(103)
        for recorder in recorders:
            ack = await told_used(recorder, 4 * 104)
            assert ack["session_seconds"] == 104


async def told_used(recorder: Recorder, seconds: int) -> dict[str, Any]:
    """The ack that tells this figure of the account; other sessions may take a while to recover."""
    async with asyncio.timeout(30):
        while (ack := await recorder.one("ack"))["usage"]["used_seconds"] != seconds:
            await recorder.hear(0, 1)
            await asyncio.sleep(0.05)
    return ack


async def test_a_stop_during_the_outage_ends_after_it_with_all_seconds(
    gateway: Served, valkey: EmbeddedValkey, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with AsyncExitStack() as stack:
        recorders = await start_all(stack, gateway, storage, 6, 60)
        for recorder in recorders:
            await recorder.hear(60, 99)
        await all_acked(recorders, 99)
        valkey.kill()
        for recorder in recorders:
            await recorder.hear(100, 110)
            await recorder.send(type="stop")
        await recorders[0].leave()
        await restart(valkey, empty=True)
        for recorder in recorders[1:]:
            stopped = await recorder.one("stopped", 60.0)
            assert (stopped["reason"], stopped["session_seconds"]) == ("stopped", 111)
            assert await recorder.closed() == 1000
        await until(lambda: not gateway.parts.counter.speakers())
        await flush(ledger, storage)
        for recorder in recorders:
            assert storage.seconds(recorder.session_id) == set(range(111))


async def test_a_session_that_was_lost_in_an_outage_is_opened_again(
    gateway: Served, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with recording(gateway) as recorder:
        begun_before(storage, recorder, 600, 60)
        await recorder.start()
        await recorder.hear(60, 99)
        await recorder.acked(99)
        key = SessionKey(recorder.organization, recorder.session_id)
        await ledger.close(key, EndReason.LOST)
        await recorder.hear(100, 120)
        await recorder.acked(120)
        assert await counted(ledger, storage, recorder) == set(range(121))


async def test_an_operators_end_is_told(gateway: Served, ledger: Ledger) -> None:
    async with recording(gateway) as recorder:
        await recorder.start()
        key = SessionKey(recorder.organization, recorder.session_id)
        await ledger.close(key, EndReason.ADMIN)
        await recorder.one("stop", 10.0, reason="admin")
        await recorder.one("stopped", reason="admin")
        assert await recorder.closed() == 4503


async def test_without_redis_a_start_is_asked_to_come_back(
    gateway: Served, valkey: EmbeddedValkey
) -> None:
    valkey.kill()
    async with recording(gateway) as recorder:
        with pytest.raises(AssertionError):
            await recorder.start()
        await recorder.one("error", code="storage_unavailable", fatal=True)
        assert await recorder.closed() == 4004
    async with httpx.AsyncClient() as client:
        answer = await client.get(gateway.url("/readyz", "http"))
    assert answer.status_code == 503
    assert answer.json()["checks"]["redis"] == "unavailable: LedgerUnavailable"


async def test_draining_counts_what_was_heard_and_sends_everybody_away(
    gateway: Served, ledger: Ledger, storage: MemoryStorage
) -> None:
    async with AsyncExitStack() as stack:
        recorders = await start_all(stack, gateway, storage, 20, 60)
        waiting = await stack.enter_async_context(recording(gateway))
        for recorder in recorders:
            await recorder.hear(60, 99)
        sessions = [each.session for each in gateway.parts.recorders.connections]
        await until(lambda: sum(each.tally.heartbeats for each in sessions) == 20)
        draining = asyncio.create_task(gateway.parts.recorders.drain(0.2))
        await asyncio.sleep(0.05)
        late = await stack.enter_async_context(recording(gateway))
        for recorder in [*recorders, waiting, late]:
            drain = await recorder.one("drain")
            assert 0 <= drain["reconnect_after_ms"] < 1000
            assert await recorder.closed() == 4000
        await draining
        for recorder in recorders:
            assert await counted(ledger, storage, recorder) == set(range(100))
        async with httpx.AsyncClient() as client:
            answer = await client.get(gateway.url("/readyz", "http"))
        assert (answer.status_code, answer.json()["checks"]["gateway"]) == (503, "draining")


async def test_draining_without_redis_ends_all_the_same(
    gateway: Served, valkey: EmbeddedValkey, storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.record.SETTLE_SECONDS", 0.3)
    monkeypatch.setattr("gateway.app.SETTLE_SECONDS", 0.3)
    async with AsyncExitStack() as stack:
        recorders = await start_all(stack, gateway, storage, 5, 60)
        valkey.kill()
        for recorder in recorders:
            await recorder.hear(60, 99)
        await asyncio.sleep(0.1)
        await gateway.parts.recorders.drain(0.1)
        for recorder in recorders:
            assert await recorder.closed() == 4000


async def test_the_process_drains_on_sigterm(
    valkey: EmbeddedValkey, gateways: Gateways, ledger: Ledger
) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": gateways.database_url,
        "REDIS_URL": valkey.url,
        "METER_JWT_SECRET": SECRET,
        "METER_DRAIN_SECONDS": "0.2",
        "PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from gateway.main import run; run()", env=environment
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(60):
                while not await _answers(client):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        async with recording(Address(port)) as idle:
            process.send_signal(signal.SIGTERM)
            await idle.one("drain")
            assert await idle.closed() == 4000
        assert await asyncio.wait_for(process.wait(), 30.0) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("missing", "value"),
    [("DATABASE_URL", None), ("REDIS_URL", None), ("METER_JWT_SECRET", "short"), ("PORT", "x")],
)
async def test_a_bad_setting_stops_the_process_and_is_named(
    missing: str, value: str | None
) -> None:
    environment = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1",
        "METER_JWT_SECRET": SECRET,
        "PATH": os.environ["PATH"],
    }
    environment.pop(missing, None)
    if value is not None:
        environment[missing] = value
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from gateway.main import run; run()",
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == 2
    assert missing in stderr.decode()
    assert SECRET not in stderr.decode()
