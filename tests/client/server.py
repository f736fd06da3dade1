"""A recorder's server that does what a test tells it to, on a real socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from meter.codes import SUBPROTOCOL
from tests.client.harness import USAGE

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection, origin: int, seconds: set[int]) -> None:
        self.socket = socket
        self.origin = origin
        self.seconds = seconds
        self.heartbeats = 0

    async def hear(self) -> dict[str, Any]:
        """The client's next message; a heartbeat's seconds are counted."""
        message: dict[str, Any] = msgspec.json.decode(await self.socket.recv())
        if message["type"] == "heartbeat":
            self.heartbeats += 1
            first = message["second"] if "second" in message else message["from"]
            last = message["second"] if "second" in message else message["to"]
            self.seconds.update(range(first, last + 1))
        return message

    async def hear_until(self, kind: str) -> list[dict[str, Any]]:
        """The client's messages up to one of a type."""
        messages = [await self.hear()]
        while messages[-1]["type"] != kind:
            messages.append(await self.hear())
        return messages

    async def hear_heartbeats(self, number: int) -> None:
        """Wait for so many heartbeat frames."""
        while number:
            number -= (await self.hear())["type"] == "heartbeat"

    async def say(self, message: str, /, **fields: Any) -> None:
        """Send a message."""
        await self.socket.send(msgspec.json.encode({"type": message, **fields}).decode())

    async def start(self, **fields: Any) -> dict[str, Any]:
        """Answer `start`, and give it."""
        start = await self.hear()
        assert start["type"] == "start"
        await self.say(
            "started",
            **{
                "session_id": start["session_id"],
                "origin": self.origin,
                "server_time": time.time(),
                "resumed": False,
                "counted_through": -1,
                "durable_through": -1,
                "ack_seconds": 6,
                "usage": USAGE,
                **fields,
            },
        )
        return start

    async def ack(self) -> None:
        """Call everything durable."""
        last = max(self.seconds, default=-1)
        await self.say(
            "ack",
            counted_through=last,
            durable_through=last,
            session_seconds=len(self.seconds),
            heartbeats=self.heartbeats,
            usage=USAGE,
        )

    async def stopped(self) -> None:
        """Wait for `stop`, confirm it, and close."""
        await self.hear_until("stop")
        await self.confirm()

    async def confirm(self) -> None:
        """Confirm the end, and close."""
        await self.say("stopped", reason="stopped", session_seconds=len(self.seconds))
        await self.socket.close()

    async def fail(self, code: int, error: str) -> None:
        """A fatal error."""
        await self.say("error", code=error, message=f"this is {error}", fatal=True)
        await self.socket.close(code, error)

    def vanish(self) -> None:
        """Break the connection without a close frame."""
        self.socket.transport.abort()


class Server:
    """Connection n runs script n; a further one fails the test."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self.url = ""
        self.seconds: set[int] = set()
        self.connections = 0
        self.failures: list[BaseException] = []
        self._scripts = scripts
        self._origin = int(time.time())

    async def serve(self, socket: ServerConnection) -> None:
        """One connection."""
        number, self.connections = self.connections, self.connections + 1
        try:
            await self._scripts[number](Peer(socket, self._origin, self.seconds))
        except (Exception, asyncio.CancelledError) as error:
            self.failures.append(error)
            raise


@asynccontextmanager
async def running(*scripts: Script) -> AsyncIterator[Server]:
    """A server that listens; at the end every script must have come to its own end."""
    server = Server(scripts)
    async with serve(
        server.serve, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}"
        yield server
    assert server.failures == []
    assert server.connections == len(scripts)
