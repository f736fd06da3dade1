"""A gateway to try the browser client on: speaks the protocol, and misbehaves on request."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import pages
from meter.codes import SUBPROTOCOL

Message = dict[str, Any]

APPLICATION = '<!doctype html><title>An application</title><link rel="icon" href="data:,">'
PERIOD = {"period_start": 1793491200, "period_end": 1796083200}


def usage(used: int, limit: int | None, scope: str = "organization", overage: int = 0) -> Message:
    """The figures of an account."""
    return {
        "overage_seconds": overage,
        "used_seconds": used,
        "limit_seconds": limit,
        "remaining_seconds": None if limit is None else max(0, limit - used),
        "unlimited": limit is None,
        "scope": scope,
        **PERIOD,
    }


def month(used: int, **fields: object) -> Message:
    """What `GET /api/usage/current-month` answers: all was used on one day."""
    return {
        **PERIOD,
        "time_zone": "UTC",
        "scope": "organization",
        "remaining_seconds": 60,
        "recorded_by_you_seconds": 75,
        "adjusted_seconds": 0,
        "projection": {"projected_seconds": 5400, "limit_reached_on": "2026-11-27"},
        "daily_breakdown": [{"day": "2026-11-21", "seconds": used, "minutes": -(-used // 60)}],
        **fields,
    }


@dataclass
class Connection:
    """One socket of a client: what it said, and when."""

    socket: WebSocket
    frames: list[Message] = field(default_factory=list)
    heartbeat_times: list[float] = field(default_factory=list)
    heartbeats: int = 0
    closed: int | None = None

    def ranges(self) -> list[tuple[int, int]]:
        """The seconds of its heartbeats, in the order they came."""
        return [bounds(frame) for frame in self.frames if frame["type"] == "heartbeat"]


def bounds(heartbeat: Message) -> tuple[int, int]:
    """First and last second of a heartbeat."""
    if "second" in heartbeat:
        return heartbeat["second"], heartbeat["second"]
    return heartbeat["from"], heartbeat["to"]


class StubGateway:
    """Serves the pages, `/v1/record` and the sockets of those who watch on a free port of
    127.0.0.1, from a thread of its own."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.counted: set[int] = set()
        self.durable_through: int | None = None  # None: all that is counted
        self.ack_seconds = 0.25
        self.promised_ack_seconds = 5
        self.usage = usage(3600, 36_000)
        self.refuse_start: tuple[int, str] | None = None
        self.shown: Message | None = None  # to those who watch
        self.answers: dict[str, Message] = {  # to those who ask once
            "/api/usage/current-month": month(3600),
            "/api/billing/subscription-info": {"subscription": None},
        }
        self.bearers: list[str | None] = []
        self.silent = False
        self.clock_ahead = 0.0
        self.origin = 0
        self._loop = asyncio.new_event_loop()
        app = Starlette(
            routes=[
                *pages.routes,
                Route("/elsewhere", lambda _: HTMLResponse(APPLICATION)),
                *(Route(path, self._answer) for path in self.answers),
                WebSocketRoute("/v1/record", self._record),
                WebSocketRoute("/v1/usage", self._watched),
                WebSocketRoute("/v1/ops", self._watched),
            ]
        )
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="error", ws="websockets-sansio", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop serving."""
        self.cut()
        self._server.should_exit = True
        self._thread.join(10)

    def send(self, message: Message) -> None:
        """Send to the newest connection."""
        self._do(self.connections[-1].socket.send_json(message))

    def disconnect(self, code: int, reason: str = "") -> None:
        """Close the newest connection with a close code."""
        self._do(self.connections[-1].socket.close(code, reason))

    def cut(self) -> None:
        """Cut every connection, without a word."""

        def abort() -> None:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def frames(self, kind: str) -> list[Message]:
        """All frames of a type, of all connections."""
        return [f for c in self.connections for f in c.frames if f["type"] == kind]

    def _do(self, sending: Any) -> None:
        asyncio.run_coroutine_threadsafe(sending, self._loop).result(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve())
        self._loop.close()

    async def _record(self, socket: WebSocket) -> None:
        await socket.accept(subprotocol=SUBPROTOCOL)
        connection = Connection(socket)
        self.connections.append(connection)
        acking = asyncio.create_task(self._acknowledge(connection))
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            try:
                await self._listen(connection)
            except WebSocketDisconnect as gone:
                connection.closed = gone.code
        acking.cancel()

    async def _answer(self, request: Request) -> JSONResponse:
        self.bearers.append(request.headers.get("authorization"))
        return JSONResponse(self.answers[request.url.path])

    async def _watched(self, socket: WebSocket) -> None:
        await socket.accept(subprotocol=SUBPROTOCOL)
        connection = Connection(socket)
        self.connections.append(connection)
        with contextlib.suppress(RuntimeError):
            try:
                while True:
                    frame = json.loads(await socket.receive_text())
                    connection.frames.append(frame)
                    if frame["type"] == "subscribe":
                        await self._subscribed(socket)
            except WebSocketDisconnect as gone:
                connection.closed = gone.code

    async def _subscribed(self, socket: WebSocket) -> None:
        if self.refuse_start is not None:
            await self._refuse(socket, *self.refuse_start)
        elif self.shown is not None:
            await socket.send_json(self.shown)

    async def _refuse(self, socket: WebSocket, code: int, name: str) -> None:
        error = {"type": "error", "code": name, "message": name, "fatal": True}
        await socket.send_json(error)
        await socket.close(code)

    async def _listen(self, connection: Connection) -> None:
        while True:
            frame = json.loads(await connection.socket.receive_text())
            connection.frames.append(frame)
            if frame["type"] == "start":
                await self._start(connection, frame)
            elif frame["type"] == "heartbeat":
                connection.heartbeats += 1
                connection.heartbeat_times.append(time.monotonic())
                first, last = bounds(frame)
                self.counted.update(range(first, last + 1))
            elif frame["type"] == "stop":
                seconds = len(self.counted)
                await self._acknowledge_now(connection)
                await connection.socket.send_json(
                    {"type": "stopped", "reason": "stopped", "session_seconds": seconds}
                )
                await connection.socket.close(1000)

    async def _start(self, connection: Connection, frame: Message) -> None:
        if self.refuse_start is not None:
            await self._refuse(connection.socket, *self.refuse_start)
            return
        now = time.time() + self.clock_ahead
        resumed = self.origin > 0
        self.origin = self.origin or int(now)
        await connection.socket.send_json(
            {
                "type": "started",
                "session_id": frame["session_id"],
                "origin": self.origin,
                "server_time": now,
                "resumed": resumed,
                "counted_through": max(self.counted, default=-1),
                "durable_through": self._durable(),
                "ack_seconds": self.promised_ack_seconds,
                "usage": self._usage(),
            }
        )

    async def _acknowledge(self, connection: Connection) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            while True:
                await asyncio.sleep(self.ack_seconds)
                if connection.heartbeats and not self.silent:
                    await self._acknowledge_now(connection)

    async def _acknowledge_now(self, connection: Connection) -> None:
        await connection.socket.send_json(
            {
                "type": "ack",
                "counted_through": max(self.counted, default=-1),
                "durable_through": self._durable(),
                "session_seconds": len(self.counted),
                "heartbeats": connection.heartbeats,
                "usage": self._usage(),
            }
        )

    def _durable(self) -> int:
        highest = max(self.counted, default=-1)
        return highest if self.durable_through is None else min(self.durable_through, highest)

    def _usage(self) -> Message:
        before = self.usage
        used = before["used_seconds"] + len(self.counted)
        return usage(used, before["limit_seconds"], before["scope"])


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 30) -> None:
    """Return when the condition holds; fail when it doesn't in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
