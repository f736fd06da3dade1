"""`/v1/usage`: dashboards that watch the account of their token."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import admission
from gateway.admission import Refusal
from gateway.client import MAX_BAD_FRAMES
from gateway.feed import Feed
from gateway.identity import Identity, TokenRefused
from gateway.record import CLOSE_SECONDS, MAX_RECONNECT_MS, RecordContext
from gateway.watchers import Watchers
from meter import messages
from meter.codes import SUBPROTOCOL, CloseCode, ErrorCode
from meter.messages import MessageError, ServerMessage
from meter.usage_messages import Subscribe, decode, encode

logger = logging.getLogger(__name__)

# Who takes nothing for so long isn't reading.
SEND_SECONDS = 20.0

NO_SUBSCRIBE = Refusal(ErrorCode.NO_START, "no `subscribe` came in time", CloseCode.NO_START)
SCOPE_MISSING = Refusal(ErrorCode.NOT_ALLOWED, "scope `usage` is needed", CloseCode.NOT_ALLOWED)
FOREIGN_ORIGIN = Refusal(ErrorCode.NOT_ALLOWED, "this origin may not watch", CloseCode.NOT_ALLOWED)


@dataclass(frozen=True, slots=True)
class Ending:
    """The last message, and the close after it."""

    message: ServerMessage
    code: CloseCode
    reason: str


class Dashboards:
    """All dashboards of a gateway."""

    def __init__(self, context: RecordContext, watchers: Watchers) -> None:
        self.context = context
        self.watchers = watchers
        self.connections: set[Dashboard] = set()

    def route(self) -> WebSocketRoute:
        """Where they connect."""
        return WebSocketRoute("/v1/usage", self._endpoint)

    async def _endpoint(self, socket: WebSocket) -> None:
        dashboard = Dashboard(self, socket)
        self.connections.add(dashboard)
        self.context.metrics.dashboards.inc()
        try:
            await dashboard.run()
        finally:
            self.connections.discard(dashboard)
            self.context.metrics.dashboards.dec()

    def tick(self) -> None:
        """About once a second: time runs out for some."""
        now = time.monotonic()
        for dashboard in list(self.connections):
            dashboard.tick(now)

    async def drain(self, seconds: float) -> None:
        """Send everybody away, spread over `seconds`; return when they are gone, or soon after."""
        self.context.draining = True
        connections = list(self.connections)
        pause = seconds / max(len(connections), 1)
        for dashboard in connections:
            dashboard.drain()
            await asyncio.sleep(pause)
        deadline = time.monotonic() + CLOSE_SECONDS
        while self.connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class Dashboard:
    """One WebSocket: a task that reads, one that writes what the account's readings bring, and
    `_over`, which says how it ends."""

    def __init__(self, dashboards: Dashboards, socket: WebSocket) -> None:
        context = dashboards.context
        self._dashboards = dashboards
        self._context = context
        self._socket = socket
        self._identity: Identity | None = None
        self._deadline = time.monotonic() + context.times.start_timeout
        self._bad_frames = 0
        self._over: asyncio.Future[Ending | None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

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
        context = self._context
        if context.draining:
            self.drain()
        elif not all(
            origin in context.allowed_origins for origin in self._socket.headers.getlist("origin")
        ):
            # Browsers send an origin, and it has to be allowed; other programs send none.
            self._fail(FOREIGN_ORIGIN)
        elif len(self._dashboards.connections) > context.max_connections:
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
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.send_text(encode(ending.message))
                await self._socket.close(int(ending.code), ending.reason)
        except (TimeoutError, WebSocketDisconnect):
            pass  # gone, or not reading: it is cut off

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
            logger.exception("a dashboard's connection failed")
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
            message = decode(frame)
            if isinstance(message, Subscribe):
                self._subscribe(message.token)
            else:
                self._refresh(message.token)
        except MessageError as error:
            await self._bad_frame(error)

    async def _bad_frame(self, error: MessageError) -> None:
        self._bad_frames += 1
        if self._bad_frames > MAX_BAD_FRAMES:
            self._fail(Refusal(ErrorCode.BAD_MESSAGE, error.detail, CloseCode.BAD_MESSAGE))
        else:
            await self._send(encode(messages.Error(error.code.value, error.detail, fatal=False)))

    def _subscribe(self, token: str) -> None:
        if self._identity is not None:
            raise MessageError(ErrorCode.ALREADY_STARTED, "this connection has its account")
        try:
            identity = self._context.verifier.verify(token)
        except TokenRefused as error:
            self._fail(admission.token_refused(error))
            return
        if "usage" not in identity.scopes:
            self._fail(SCOPE_MISSING)
            return
        self._accept(identity)
        self._spawn(self._write)

    def _refresh(self, token: str) -> None:
        if self._identity is None:
            raise MessageError(ErrorCode.NOT_STARTED, "`subscribe` comes first")
        try:
            identity = self._context.verifier.verify(token)
        except TokenRefused as error:
            refusal = admission.token_refused(error)
            raise MessageError(refusal.code, refusal.detail) from None
        if "usage" not in identity.scopes or not identity.is_same_user(self._identity):
            raise MessageError(ErrorCode.NOT_ALLOWED, "the token is of another user or scope")
        self._accept(identity)

    def _accept(self, identity: Identity) -> None:
        self._identity = identity
        self._deadline = time.monotonic() + identity.expires_in + self._context.times.token_grace

    # What it is told --------------------------------------------------------------------------

    async def _write(self) -> None:
        identity, watchers = self._identity, self._dashboards.watchers
        assert identity is not None
        feed = Feed(self._context.times.stop_grace)
        with watchers.watch(identity.organization_id, identity.user_id) as watcher:
            while True:
                view = await watcher.news()
                if feed.waits(time.monotonic()):
                    continue  # the next reading brings it, or what is newer
                for frame in feed.frames(view, time.monotonic()):
                    await self._send(frame)
                watcher.shown = view

    async def _send(self, frame: str) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self._socket.send_text(frame)
