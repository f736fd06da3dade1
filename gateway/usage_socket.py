"""`/v1/usage`: dashboards that watch the account of their token."""

import time

from starlette.websockets import WebSocket

from gateway.feed import Feed
from gateway.record import RecordContext
from gateway.watch_socket import WatchSocket, WatchSockets
from gateway.watchers import Watchers
from meter.codes import ErrorCode
from meter.messages import MessageError
from meter.usage_messages import Subscribe, decode


class Dashboards(WatchSockets):
    """All dashboards of a gateway."""

    path = "/v1/usage"

    def __init__(self, context: RecordContext, watchers: Watchers) -> None:
        super().__init__(context, context.metrics.dashboards)
        self.watchers = watchers

    def connection(self, socket: WebSocket) -> "Dashboard":
        """What drives a new socket."""
        return Dashboard(self, socket)


class Dashboard(WatchSocket):
    """One dashboard."""

    scope = "usage"

    def __init__(self, dashboards: Dashboards, socket: WebSocket) -> None:
        super().__init__(dashboards, socket)
        self._watchers = dashboards.watchers

    async def _take(self, frame: str) -> None:
        message = decode(frame)
        if not isinstance(message, Subscribe):
            await self._refresh(message.token)
        elif self._identity is not None:
            raise MessageError(ErrorCode.ALREADY_STARTED, "this connection has its account")
        else:
            await self._subscribe(message.token)

    async def _write(self) -> None:
        identity = self._require_subscribed()
        feed = Feed(self._context.times.stop_grace)
        with self._watchers.watch(identity.organization_id, identity.user_id) as watcher:
            while True:
                view = await watcher.news()
                if feed.waits(time.monotonic()):
                    continue  # the next reading brings it, or what is newer
                for frame in feed.frames(view, time.monotonic()):
                    await self._send(frame)
                watcher.shown = view
