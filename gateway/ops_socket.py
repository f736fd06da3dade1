"""`/v1/ops`: operators that watch all live sessions, and end some."""

import asyncio
import time

from starlette.websockets import WebSocket

from gateway.feed import JITTER_SECONDS, PERIOD_SECONDS
from gateway.operators import Operators
from gateway.ops_pages import OperatorPages, PageView
from gateway.record import RecordContext
from gateway.rounds import Watcher
from gateway.watch_socket import WatchSocket, WatchSockets
from meter.codes import ErrorCode
from meter.ledger.listing import PageRequest
from meter.ledger.types import LedgerUnavailable, StorageUnavailable
from meter.messages import MessageError, Refresh
from meter.ops_messages import StopFailed, Stopped, StopSession, Subscribe, decode, encode, ended

# Each new page is read at once, so they are taken no faster than this.
TURN_SECONDS = 0.2


class OperatorSockets(WatchSockets):
    """All operators of a gateway."""

    path = "/v1/ops"

    def __init__(self, context: RecordContext, operators: Operators, pages: OperatorPages) -> None:
        super().__init__(context, context.metrics.operators)
        self.operators = operators
        self.pages = pages

    def connection(self, socket: WebSocket) -> "OperatorSocket":
        """What drives a new socket."""
        return OperatorSocket(self, socket)


class OperatorSocket(WatchSocket):
    """One operator."""

    scope = "admin"

    def __init__(self, sockets: OperatorSockets, socket: WebSocket) -> None:
        super().__init__(sockets, socket)
        self._operators = sockets.operators
        self._pages = sockets.pages
        self._request = PageRequest()
        self._watcher: Watcher[PageView] | None = None

    # What it says -----------------------------------------------------------------------------

    async def _take(self, frame: str) -> None:
        match decode(frame):
            case Subscribe() as message:
                await self._choose(message)
            case StopSession(session_id):
                await self._stop(str(session_id))
            case Refresh(token):
                await self._refresh(token)

    async def _choose(self, message: Subscribe) -> None:
        request = message.page()
        if self._identity is None:
            if message.token is None:
                raise MessageError(ErrorCode.BAD_MESSAGE, "subscribe: `token` is needed at first")
            self._request = request
            await self._subscribe(message.token)
            return
        if message.token is not None:
            raise MessageError(ErrorCode.ALREADY_STARTED, "`refresh` brings a newer token")
        self._request = request
        if self._watcher is not None:
            self._pages.move(self._watcher, request)
        await asyncio.sleep(TURN_SECONDS)

    async def _stop(self, session_id: str) -> None:
        operator = self._require_subscribed()
        try:
            state = await self._operators.stop(session_id, operator)
        except (LedgerUnavailable, StorageUnavailable):
            code, detail = ErrorCode.STORAGE_UNAVAILABLE, "it can't be stopped now; try again soon"
        else:
            if state is not None:
                await self._send(encode(ended(Stopped, state)))
                return
            code, detail = ErrorCode.SESSION_NOT_FOUND, "there is no session of this id"
        await self._send(encode(StopFailed(session_id, code.value, detail)))

    # What it is told --------------------------------------------------------------------------

    async def _write(self) -> None:
        said, said_at = None, float("-inf")
        with self._pages.watch(self._request) as self._watcher:
            while True:
                view = await self._watcher.news()
                soon = time.monotonic() - said_at < PERIOD_SECONDS - JITTER_SECONDS
                if soon and view.request is said:
                    continue  # the next reading brings it, or what is newer
                await self._send(view.frame)
                said, said_at = view.request, time.monotonic()
                self._watcher.shown = view
