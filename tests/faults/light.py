"""Thousands of recorders in one process: the client's own state machine on picows' WebSockets, one
round a second for all of them."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from meter.codes import SUBPROTOCOL
from meter.messages import Started
from minute_meter.core import ABNORMAL, Core
from minute_meter.events import Drop, Phase, Refused
from tests.faults.book import Book

OPEN_SECONDS = 10.0
EVERY_SECONDS = 5
STEPS_A_SECOND = 20
HEADERS = {"Sec-WebSocket-Protocol": SUBPROTOCOL}


class LightRecorder:
    """Records every second from its first `started` on, and reports every five."""

    def __init__(self, book: Book, urls: Sequence[str], token: str, seed: int) -> None:
        self.book = book
        self.random = random.Random(seed)
        now = time.monotonic()
        self.core = Core(
            book.session_id, kind="storm", automatic=False, now=now, random=self.random.random
        )
        self._urls = urls
        self._token = token
        self._link: _Link | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._next: int | None = None
        self._origin = 0
        self._finishing = False

    @property
    def live(self) -> bool:
        """Whether the server has answered its last `start`."""
        return self.core.phase is Phase.LIVE and self._link is not None

    def cut(self) -> None:
        """Its connection breaks."""
        if self._link is not None and self._link.transport is not None:
            self._link.transport.disconnect(False)

    def finish(self) -> None:
        """Report the rest, and end the session."""
        if not self._finishing:
            self._finishing = self.book.asked = True
            now = time.monotonic()
            self._report(now, at_least=1)
            self.core.stop(now)
            self._pump()

    def step(self) -> None:
        """Once a second."""
        now = time.monotonic()
        if not self._finishing:
            self._report(now, EVERY_SECONDS)
        self.core.advance(now)
        self._pump()
        if self.core.phase is Phase.WAITING and self._dialling is None:
            self._dial_at(self.core.connect_at)

    def _report(self, now: float, at_least: int) -> None:
        core = self.core
        under_way, origin = core.second_under_way(now), core.origin
        if under_way is None or origin is None:
            return
        if self._next is None:
            self._next = origin + under_way
        if origin + under_way - self._next >= at_least:
            self.book.recorded.update(range(self._next, origin + under_way))
            if self._next < origin:  # it has begun anew since
                self.book.refuse("second_too_late", range(self._next, origin))
            core.heartbeat(max(self._next - origin, 0), under_way - 1, now)
            self._next = origin + under_way

    # The connection -------------------------------------------------------------------------------

    def _dial_at(self, moment: float) -> None:
        self._dialling = asyncio.get_running_loop().create_task(self._dial(moment))

    async def _dial(self, moment: float) -> None:
        await asyncio.sleep(max(moment - time.monotonic(), 0))
        self.core.connecting()
        link = _Link(self)
        try:
            await ws_connect(
                lambda: link,
                self.random.choice(self._urls),
                extra_headers=HEADERS,
                websocket_handshake_timeout=OPEN_SECONDS,
                read_buffer_init_size=1024,
            )
        except (OSError, WSError, TimeoutError):
            if link.transport is None:
                self.core.lost(ABNORMAL, time.monotonic())
        finally:
            self._dialling = None

    def opened(self, link: "_Link") -> None:
        """The handshake is done."""
        self._link = link
        self.core.opened(self._token, time.monotonic())
        self._pump()

    def received(self, payload: bytes) -> None:
        """A frame came."""
        self.core.received(payload, time.monotonic())
        self._pump()

    def lost(self, code: int) -> None:
        """The connection is gone."""
        self._link = None
        self.core.lost(code, time.monotonic())
        self._note()

    def _pump(self) -> None:
        self._note()
        link = self._link
        if link is None or link.transport is None:
            return
        for frame in self.core.frames_to_send():
            link.transport.send(WSMsgType.TEXT, frame.encode())
        if self.core.drop is not None:
            link.transport.disconnect(self.core.drop is not Drop.DEAD)

    def _note(self) -> None:
        for event in self.core.events():
            match event:
                case Started(origin=origin):
                    if self.book.connections > 0 and origin != self._origin:
                        self.book.begun_anew.append((self.book.started_at or 0.0, time.monotonic()))
                    self.book.connections += 1
                    self.book.started_at = time.monotonic()
                    self._origin = origin
                case Refused(code=code, seconds=seconds):
                    self.book.refusals += 1
                    for first, last in seconds:
                        self.book.refuse(code, range(self._origin + first, self._origin + last + 1))
        if self.core.over and self.book.end is None:
            self.book.end = self.core.end


class _Link(WSListener):
    """One WebSocket of a recorder."""

    def __init__(self, recorder: LightRecorder) -> None:
        self.recorder = recorder
        self.transport: WSTransport | None = None
        self._code = ABNORMAL

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.recorder.opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.recorder.received(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self._code = int(frame.get_close_code().value)
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.recorder.lost(self._code)


class Herd:
    """Steps all recorders once a second, some at a time."""

    def __init__(self, urls: Sequence[str], seed: int) -> None:
        self.recorders: list[LightRecorder] = []
        self._urls = urls
        self._seed = seed
        self._task: asyncio.Task[None] | None = None

    @property
    def books(self) -> list[Book]:
        """Of all recorders."""
        return [recorder.book for recorder in self.recorders]

    @property
    def live(self) -> int:
        """How many are connected, and answered."""
        return sum(recorder.live for recorder in self.recorders)

    @property
    def over(self) -> int:
        """How many sessions have ended."""
        return sum(recorder.core.over for recorder in self.recorders)

    def add(self, organization_id: str, user_id: str, token: str) -> None:
        """One more; it connects with its next step."""
        book = Book(uuid4(), organization_id, user_id)
        seed = self._seed * 1_000_003 + len(self.recorders)
        self.recorders.append(LightRecorder(book, self._urls, token, seed))

    def start(self) -> None:
        """Begin to step."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Step no more, and cut off who is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for recorder in self.recorders:
            recorder.cut()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began, turn = loop.time(), 0
        while True:
            for recorder in self.recorders[turn % STEPS_A_SECOND :: STEPS_A_SECOND]:
                if not recorder.core.over:
                    recorder.step()
            turn += 1
            await asyncio.sleep(max(began + turn / STEPS_A_SECOND - loop.time(), 0))
