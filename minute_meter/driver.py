"""Drives a session's state machine on asyncio: connects, sends, reads, and comes back."""

import asyncio
import logging
import time
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from minute_meter import tokens
from minute_meter.connection import connect
from minute_meter.core import ABNORMAL, Core
from minute_meter.errors import HandshakeRefusedError, TokenError
from minute_meter.events import Drop, Event, Phase
from minute_meter.options import Timeouts

logger = logging.getLogger("minute_meter")


class Driver:
    """Runs `core` until its session is over. `tell` is called with each event.

    `begun` is set once the session is live for the first time; `failure` is the error of the last
    attempt to connect that failed.
    """

    def __init__(
        self,
        core: Core,
        url: str,
        token: tokens.Token,
        timeouts: Timeouts,
        tell: Callable[[Event], None],
    ) -> None:
        self.begun = asyncio.Event()
        self.failure: Exception | None = None
        self._core = core
        self._url = url
        self._token = token
        self._open_seconds = timeouts.open_seconds
        self._tell = tell
        self._wake = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something changed in `core`: see to it now."""
        self._wake.set()

    async def run(self) -> None:
        """Return when the session is over.

        Raises `HandshakeRefusedError`, `TokenError` and `InvalidStartError` before it has begun;
        later, only `InvalidStartError` can come, with a fresh token too long for a frame.
        """
        core = self._core
        try:
            while not core.over:
                while core.phase is Phase.WAITING and (now := time.monotonic()) < core.connect_at:
                    core.advance(now, time.time())
                    await self._sleep_until(core.next_wake(now))
                await self._connect_once()
        finally:
            if self._renewal is not None:
                self._renewal.cancel()

    async def _connect_once(self) -> None:
        core = self._core
        core.connecting()
        try:
            token = await tokens.fetch(self._token, self._open_seconds)
            socket = await connect(self._url, self._open_seconds)
        except (HandshakeRefusedError, TokenError, OSError) as error:
            if core.origin is None and not isinstance(error, OSError):
                raise  # a wrong address or program: not worth another attempt
            self.failure = error
            logger.info("no connection to %s: %s", self._url, error)
            core.lost(ABNORMAL, time.monotonic())
        else:
            await self._converse(socket, token)

    async def _converse(self, socket: ClientConnection, token: str) -> None:
        core = self._core
        reader = asyncio.create_task(self._read(socket))
        try:
            core.opened(token, time.monotonic())
            while not reader.done():
                now = time.monotonic()
                core.advance(now, time.time())
                if core.drop is not None:
                    break
                await self._send(socket)
                self._renew_if_due(now)
                await self._sleep_until(core.next_wake(now))
        except ConnectionClosed:
            pass  # whoever closed it: the socket has the code, read below
        finally:
            dropped = core.drop
            await _close(socket, reader, dead=dropped is Drop.DEAD)
        code = None if dropped is Drop.DEAD else socket.close_code
        logger.info("connection closed: %s %s", code, socket.close_reason or dropped or "")
        core.lost(code or ABNORMAL, time.monotonic(), socket.close_reason or "")
        self._deliver()

    async def _send(self, socket: ClientConnection) -> None:
        self._deliver()
        for frame in self._core.frames_to_send():
            await socket.send(frame)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                self._core.received(await socket.recv(), time.monotonic())
                if self._core.origin is not None:
                    self.begun.set()
                self._deliver()
                self._wake.set()
        except ConnectionClosed:
            pass  # `_converse` sees that the reading is done, and asks the socket why
        finally:
            self._wake.set()

    def _renew_if_due(self, now: float) -> None:
        if self._core.refresh_due(now) and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            fresh = await tokens.fetch(self._token, self._open_seconds)
        except TokenError as error:
            logger.warning("the token could not be renewed yet: %s", error.__cause__)
            return
        self._core.refresh(fresh, time.monotonic())
        self._wake.set()

    def _deliver(self) -> None:
        for event in self._core.events():
            self._tell(event)

    async def _sleep_until(self, moment: float) -> None:
        delay_seconds = max(moment - time.monotonic(), 0.0)
        timer = asyncio.get_running_loop().call_later(delay_seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
            self._wake.clear()


async def _close(socket: ClientConnection, reader: asyncio.Task[None], *, dead: bool) -> None:
    if dead:
        socket.transport.abort()
    else:
        await socket.close()
    reader.cancel()
    await asyncio.wait({reader})
    if not reader.cancelled():
        reader.result()
