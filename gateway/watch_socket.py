"""What the sockets of those who watch share: dashboards' and operators'.

A connection is a task that reads, one that writes what readings bring, and `_over`, which says how
it ends. The first frame subscribes with a token; `refresh` brings a newer one.
"""

import asyncio
import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from prometheus_client import Gauge
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import admission
from gateway.admission import Refusal
from gateway.client import MAX_BAD_FRAMES
from gateway.identity import Identity, TokenRefused
from gateway.origins import may_connect
from gateway.record import CANT_TELL, CLOSE_SECONDS, MAX_RECONNECT_MS, RecordContext
from gateway.tokens import KeysUnavailable
from meter import messages
from meter.codes import SUBPROTOCOL, CloseCode, ErrorCode
from meter.messages import MessageError, ServerMessage

logger = logging.getLogger(__name__)

# Who takes nothing for so long isn't reading.
SEND_SECONDS = 20.0

NO_SUBSCRIBE = Refusal(ErrorCode.NO_START, "no `subscribe` came in time", CloseCode.NO_START)
FOREIGN_ORIGIN = Refusal(ErrorCode.NOT_ALLOWED, "this origin may not watch", CloseCode.NOT_ALLOWED)
KEYS_UNAVAILABLE = Refusal(
    ErrorCode.STORAGE_UNAVAILABLE,
    "the token can't be checked now; try again soon",
    CloseCode.STORAGE_UNAVAILABLE,
)


@dataclass(frozen=True, slots=True)
class Ending:
    """The last message, and the close after it."""

    message: ServerMessage
    code: CloseCode
    reason: str


class WatchSockets(ABC):
    """All connections of a gateway to one path."""

    path: ClassVar[str]

    def __init__(self, context: RecordContext, gauge: Gauge) -> None:
        self.context = context
        self.connections: set[WatchSocket] = set()
        self._gauge = gauge

    @abstractmethod
    def connection(self, socket: WebSocket) -> "WatchSocket":
        """What drives a new socket."""

    def route(self) -> WebSocketRoute:
        """Where they connect."""
        return WebSocketRoute(self.path, self._endpoint)

    async def _endpoint(self, socket: WebSocket) -> None:
        connection = self.connection(socket)
        self.connections.add(connection)
        self._gauge.inc()
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
            self._gauge.dec()

    def tick(self) -> None:
        """About once a second: time runs out for some."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.tick(now)

    async def drain(self, seconds: float) -> None:
        """Send everybody away, spread over `seconds`; return when they are gone, or soon after."""
        self.context.draining = True
        connections = list(self.connections)
        pause = seconds / max(len(connections), 1)
        for connection in connections:
            connection.drain()
            await asyncio.sleep(pause)
        deadline = time.monotonic() + CLOSE_SECONDS
        while self.connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class WatchSocket(ABC):
    """One WebSocket. `scope` is what its token has to include."""

    scope: ClassVar[str]

    def __init__(self, sockets: WatchSockets, socket: WebSocket) -> None:
        context = sockets.context
        self._sockets = sockets
        self._context = context
        self._socket = socket
        self._identity: Identity | None = None
        self._deadline = time.monotonic() + context.times.start_timeout
        self._bad_frames = 0
        self._over: asyncio.Future[Ending | None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    async def _take(self, frame: str) -> None:
        """Do what a frame says. Raises `MessageError`."""

    @abstractmethod
    async def _write(self) -> None:
        """Tell the subscriber what there is to tell, for ever."""

    async def run(self) -> None:
        """Until the connection is closed."""
        offered = self._socket.scope.get("subprotocols", [])
        await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        self._admit()
        self._spawn(self._read)
        try:
            ending = await self._over
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if ending is not None:
            await self._close(ending)

    def _admit(self) -> None:
        context, headers = self._context, self._socket.headers
        if context.draining:
            self.drain()
        elif not may_connect(
            headers.getlist("origin"), headers.getlist("host"), context.allowed_origins
        ):
            self._fail(FOREIGN_ORIGIN)
        elif len(self._sockets.connections) > context.max_connections:
            self._fail(admission.OVERLOADED)

    # How it ends ------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Close the connection when its time has run out."""
        if now >= self._deadline:
            self._fail(NO_SUBSCRIBE if self._identity is None else admission.TOKEN_EXPIRED)

    def drain(self) -> None:
        """Send the client to another gateway."""
        drain = messages.Drain(secrets.randbelow(MAX_RECONNECT_MS))
        self._end(Ending(drain, CloseCode.DRAINING, "draining"))

    def _fail(self, refusal: Refusal) -> None:
        error = messages.Error(refusal.code.value, refusal.detail, fatal=True)
        self._end(Ending(error, refusal.close, refusal.code.value))

    def _end(self, ending: Ending | None) -> None:
        if not self._over.done():
            self._over.set_result(ending)

    async def _close(self, ending: Ending) -> None:
        self._context.metrics.closes.labels(str(int(ending.code))).inc()
        with suppress(TimeoutError, WebSocketDisconnect):  # gone, or not reading: it is cut off
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.send_text(messages.encode(ending.message))
                await self._socket.close(int(ending.code), ending.reason)

    # What the client says ---------------------------------------------------------------------

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._guarded(work)))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except TimeoutError:
            self._fail(admission.TOO_SLOW)
        except WebSocketDisconnect:
            self._end(None)
        except Exception:
            logger.exception("a watcher's connection failed")
            self._end(None)

    async def _read(self) -> None:
        while not self._over.done():
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                self._end(None)
                return
            await self._hear(event.get("text"))

    async def _hear(self, frame: str | None) -> None:
        try:
            if frame is None:
                raise MessageError(ErrorCode.BAD_MESSAGE, "messages are text frames")
            await self._take(frame)
        except MessageError as error:
            await self._bad_frame(error)

    async def _bad_frame(self, error: MessageError) -> None:
        self._bad_frames += 1
        if self._bad_frames > MAX_BAD_FRAMES:
            self._fail(Refusal(ErrorCode.BAD_MESSAGE, error.detail, CloseCode.BAD_MESSAGE))
        else:
            await self._error(error.code, error.detail)

    async def _error(self, code: ErrorCode, detail: str) -> None:
        await self._send(messages.encode(messages.Error(code.value, detail, fatal=False)))

    async def _subscribe(self, token: str) -> None:
        """The first frame: from now on it is told what there is to tell."""
        self._deadline = float("inf")  # it came in time; its key may have to be looked for
        try:
            identity = await self._context.verifier.identify(token)
        except TokenRefused as error:
            self._fail(admission.token_refused(error))
            return
        except KeysUnavailable:
            self._fail(KEYS_UNAVAILABLE)
            return
        if self.scope not in identity.scopes:
            detail = f"scope `{self.scope}` is needed"
            self._fail(Refusal(ErrorCode.NOT_ALLOWED, detail, CloseCode.NOT_ALLOWED))
            return
        self._accept(identity)
        self._spawn(self._write)

    async def _refresh(self, token: str) -> None:
        self._require_subscribed()
        try:
            identity = await self._context.verifier.identify(token)
        except TokenRefused as error:
            refusal = admission.token_refused(error)
            raise MessageError(refusal.code, refusal.detail) from None
        except KeysUnavailable:
            refusal = admission.token_refused(CANT_TELL)
            await self._error(refusal.code, refusal.detail)  # no bad frame: it may well be good
            return
        if self.scope not in identity.scopes or not identity.is_same_user(self._identity):
            raise MessageError(ErrorCode.NOT_ALLOWED, "the token is of another user or scope")
        self._accept(identity)

    def _require_subscribed(self) -> Identity:
        if self._identity is None:
            raise MessageError(ErrorCode.NOT_STARTED, "`subscribe` comes first")
        return self._identity

    def _accept(self, identity: Identity) -> None:
        self._identity = identity
        self._deadline = time.monotonic() + identity.expires_in + self._context.times.token_grace

    async def _send(self, frame: str) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self._socket.send_text(frame)
