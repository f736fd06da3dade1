"""A gateway in a process of its own, a recorder that behaves well, and frames that no client should
send."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.gateway.serving import SECRET, Address, Recorder, recording

SESSION = "0f0c7a2e-8f3e-4a55-9d55-0a0c3c3f1b11"
MEGABYTE = 1 << 20

# No type of message that any socket takes.
GARBAGE = {
    "nothing": b"",
    "no JSON": b"\x01\x02" * 100,
    "a null byte": b"\x00",
    "null bytes after a message": b'{"type":"stop"}\x00\x00',
    "no object": b"[1,2,3]",
    "no type": b'{"second":1}',
    "a type nobody knows": b'{"type":"\\u0000"}',
    "deep nesting": b"[" * 4000,
    "deep nesting that closes": b"[" * 2000 + b"]" * 2000,
    "deep nesting in a field": b'{"type":"refresh","token":' + b'{"a":' * 700,
    "a huge number": b'{"type":' + b"9" * 4000 + b"}",
    "a lone surrogate, escaped": b'{"type":"refresh","token":"\\ud800"',
    "a token of the wrong type": b'{"type":"refresh","token":[{}]}',
    "a token of nothing": b'{"type":"refresh","token":""}',
}

# Of the recorder's messages, with fields that can't be.
HEARTBEATS = {
    "NaN": b'{"type":"heartbeat","second":NaN}',
    "infinity": b'{"type":"heartbeat","second":-Infinity}',
    "1e400": b'{"type":"heartbeat","second":1e400}',
    "more than 2 to the 53": b'{"type":"heartbeat","from":0,"to":9007199254740993}',
    "4,000 digits": b'{"type":"heartbeat","second":' + b"9" * 4000 + b"}",
    "a fraction": b'{"type":"heartbeat","second":1.5}',
    "a text": b'{"type":"heartbeat","second":"1"}',
    "a truth": b'{"type":"heartbeat","second":true}',
    "a list": b'{"type":"heartbeat","from":[0],"to":{"a":1}}',
    "backwards": b'{"type":"heartbeat","from":9,"to":3}',
    "half a range": b'{"type":"heartbeat","to":3}',
}


class GatewayProcess(Address):
    """A gateway as the Procfile starts it."""

    def __init__(self, database_url: str, redis_url: str, port: int) -> None:
        super().__init__(port)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from gateway.main import run; run()"],
            env={
                **os.environ,
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "METER_JWT_SECRET": SECRET,
                "METER_DRAIN_SECONDS": "0",
                "METER_STOP_WAIT_SECONDS": "0",
                "PORT": str(port),
            },
        )

    def wait_until_it_listens(self) -> None:
        """It answers connections."""
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def memory(self) -> int:
        """Bytes that are resident."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def stop(self) -> None:
        """Ended, the good way; whatever was done to it, it can."""
        self._process.terminate()
        assert self._process.wait(20) == 0


class Witness:
    """A session of somebody else that says what it recorded several times a second, and measures
    how long it takes to be acknowledged."""

    def __init__(self, recorder: Recorder, origin: int, ack_seconds: float) -> None:
        self.recorder = recorder
        self.origin = origin
        self.ack_seconds = ack_seconds
        self.delays: list[float] = []
        self.heard: set[int] = set()
        self._going = True

    async def run(self) -> None:
        """Until it is told to stop, and once more."""
        while self._going or len(self.delays) < 3:
            await self._beat()
            await asyncio.sleep(0.05)

    async def _beat(self) -> None:
        second = int(time.time()) - self.origin
        self.heard |= {second - 1, second}
        began = time.monotonic()
        await self.recorder.hear(second - 1, second)
        while not self._acked():
            assert time.monotonic() - began < self.ack_seconds
            await asyncio.sleep(0.005)
        self.delays.append(time.monotonic() - began)

    def _acked(self) -> bool:
        last = self.recorder.received[-1]
        return last["type"] == "ack" and int(last["heartbeats"]) > len(self.delays)

    def stop(self) -> None:
        """Soon."""
        self._going = False


@asynccontextmanager
async def witnessing(gateway: GatewayProcess, slowest_seconds: float) -> AsyncIterator[Witness]:
    """Whatever happens in the block, a session of another tenant isn't disturbed: each heartbeat is
    acknowledged in time, and each second counted, and the gateway's memory hardly grows."""
    memory = gateway.memory()
    async with recording(gateway) as recorder:
        started = await recorder.start(origin=int(time.time()) - 60)
        assert started["origin"] < time.time() - 50
        witness = Witness(recorder, started["origin"], started["ack_seconds"])
        beating = asyncio.create_task(witness.run())
        yield witness
        witness.stop()
        await beating
        assert max(witness.delays) < slowest_seconds, sorted(witness.delays)[-5:]
        kinds = {each["type"] for each in recorder.received}
        assert kinds <= {"started", "ack"}, recorder.received
        assert recorder.received[-1]["session_seconds"] == len(witness.heard)
    assert gateway.memory() - memory < 48 * MEGABYTE


def frame_header(size: int) -> bytes:
    """The beginning of a client's text frame of `size` bytes, whose mask is zero."""
    return struct.pack(">BBQI", 0x81, 0x80 | 127, size, 0)


async def flood(socket: ClientConnection, frame: bytes | str, times: int) -> int:
    """Send a frame again and again, unless the connection ends before; gives how often."""
    for sent in range(times):
        try:
            await socket.send(frame, text=True)
        except (ConnectionClosed, ConnectionError):
            return sent
    return times
