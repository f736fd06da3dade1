"""A gateway on a real socket, recorders that speak to it, and a flusher by hand."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any
from uuid import uuid4

import jwt
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from gateway.app import Parts, build_parts, server_config
from gateway.main import payment_events
from gateway.settings import GatewaySettings
from meter.codes import SUBPROTOCOL, EndReason
from meter.ledger.driver import Ledger
from meter.ledger.keys import PARTITIONS
from meter.ledger.types import SessionKey, SessionState, Settlement, Storage
from persistence.books import PostgresStore
from tests.gateway.memory_storage import MemoryStorage

SECRET = "a secret of the tests, long enough"


def token(organization: str, user: str = "alice", **claims: object) -> str:
    """A token of the tests' gateways."""
    payload = {"sub": user, "org_id": organization, "exp": time.time() + 600, **claims}
    return jwt.encode(payload, SECRET, algorithm="HS256")


def settings(**variables: object) -> GatewaySettings:
    """Settings with the environment's names; those that don't matter here are made up."""
    defaults = {
        "DATABASE_URL": "none",
        "REDIS_URL": "none",
        "METER_JWT_SECRET": SECRET,
        "PORT": 0,
        "METER_STOP_WAIT_SECONDS": 0,  # there is no flusher
    }
    return GatewaySettings.model_validate(defaults | variables)


class Address:
    """Where a gateway is."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, path: str = "/v1/record", scheme: str = "ws") -> str:
        """Of one of its paths."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"


class Served(Address):
    """A gateway that runs in this process."""

    def __init__(self, parts: Parts, server: uvicorn.Server) -> None:
        super().__init__(server.servers[0].sockets[0].getsockname()[1])
        self.parts = parts
        self.server = server


@asynccontextmanager
async def serving(ledger: Ledger, storage: Storage, **variables: object) -> AsyncIterator[Served]:
    """A gateway, until the end of the block."""
    chosen = settings(**variables)
    store = PostgresStore(chosen.database_url.get_secret_value())
    events = payment_events(chosen)
    parts = build_parts(chosen, ledger, storage, store, events)
    server = uvicorn.Server(server_config(parts, "127.0.0.1", chosen.port))
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started or task.done())
    try:
        yield Served(parts, server)
    finally:
        server.should_exit = True
        await task
        await ledger.aclose()
        await store.aclose()
        if events is not None:
            await events.aclose()


class Recorder:
    """A client, with what it was sent. Seconds are sent as ranges, and counted in its head."""

    def __init__(self, socket: ClientConnection, organization: str, session_id: str) -> None:
        self.socket = socket
        self.organization = organization
        self.session_id = session_id
        self.received: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(ConnectionClosed):  # a close with a code is an end as well
            async for frame in self.socket:
                assert isinstance(frame, str)
                self.received.append(json.loads(frame))

    async def send(self, **message: object) -> None:
        """One frame."""
        await self.socket.send(json.dumps(message))

    async def start(self, **fields: object) -> dict[str, Any]:
        """Through to `started`."""
        fields = {"token": token(self.organization), "session_id": self.session_id, **fields}
        await self.send(type="start", **fields)
        return await self.one("started")

    async def hear(self, first: int, last: int) -> None:
        """A range of seconds."""
        await self.send(type="heartbeat", **{"from": first, "to": last})

    async def one(self, kind: str, seconds: float = 30.0, **fields: object) -> dict[str, Any]:
        """The last message of a type that was received, with these fields."""

        def found() -> list[dict[str, Any]]:
            wanted = {"type": kind, **fields}.items()
            return [each for each in self.received if wanted <= each.items()]

        await until(lambda: bool(found()) or self._reading.done(), seconds)
        assert found(), (kind, fields, self.received, self.socket.close_code)
        return found()[-1]

    async def acked(self, through: int, seconds: float = 30.0) -> dict[str, Any]:
        """The first ack that covers a second."""

        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.received
                if each["type"] == "ack" and each["counted_through"] >= through
            ]

        await until(lambda: bool(found()) or self._reading.done(), seconds)
        assert found(), (through, self.received, self.socket.close_code)
        return found()[0]

    async def closed(self, seconds: float = 30.0) -> int | None:
        """The close code, once it is closed."""
        await until(self._reading.done, seconds)
        return self.socket.close_code

    async def leave(self) -> None:
        """The connection is cut."""
        self.socket.transport.abort()
        await self._reading


@asynccontextmanager
async def recording(
    gateway: Address,
    organization: str | None = None,
    session_id: str | None = None,
    *,
    origin: str | None = None,
    subprotocols: tuple[str, ...] = (SUBPROTOCOL,),
) -> AsyncIterator[Recorder]:
    """A recorder's connection, not started."""
    socket = await connect(
        gateway.url(),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        origin=None if origin is None else Origin(origin),
        compression=None,
        ping_interval=None,
        open_timeout=20,
    )
    recorder = Recorder(socket, organization or f"org-{uuid4()}", session_id or str(uuid4()))
    try:
        yield recorder
    finally:
        socket.transport.abort()
        await recorder._reading


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def begun_before(
    storage: MemoryStorage, recorder: Recorder, seconds: int, recorded: int = 0
) -> int:
    """Lets Postgres know the session, so that it started some seconds ago, when it is resumed; the
    first `recorded` of them are durable. Gives its origin."""
    origin = int(time.time()) - seconds
    key = SessionKey(recorder.organization, recorder.session_id)
    state = SessionState(key, "alice", "recording", origin, revision=1_000_000)
    storage.write(state, set(range(recorded)))
    return origin


async def flush(ledger: Ledger, storage: MemoryStorage) -> None:
    """A flusher's round: all that is due is written, and let go of."""
    for collected in await ledger.collect(range(PARTITIONS), "tests", 60, 10_000):
        settlements = []
        for due in collected.due:
            seconds = {
                minute.minute * 60 + bit - due.state.origin
                for minute in due.minutes
                for bit in range(60)
                if minute.mask >> bit & 1
            }
            storage.write(due.state, seconds)
            settlements.append(Settlement(due.state.key, due.state.revision, due.minutes))
        await ledger.settle(settlements)


async def counted(ledger: Ledger, storage: MemoryStorage, recorder: Recorder) -> set[int]:
    """All seconds of a session, wherever they are: it is ended, and flushed."""
    await ledger.close(SessionKey(recorder.organization, recorder.session_id), EndReason.STOPPED)
    await flush(ledger, storage)
    return storage.seconds(recorder.session_id)
