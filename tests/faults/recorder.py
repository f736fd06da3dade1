"""A simulated recorder: the client's own state machine on a WebSocket, with habits, on a clock that
may be wrong, and with a book in which it writes down what it recorded."""

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from meter.codes import ErrorCode
from meter.messages import Started, StopNotice
from meter.seconds import Range
from minute_meter.connection import connect
from minute_meter.core import ABNORMAL, Core
from minute_meter.errors import HandshakeRefusedError
from minute_meter.events import Drop, Event, HeartbeatSent, Phase, Refused
from minute_meter.wire import Ack
from tests.faults.book import Book

OPEN_SECONDS = 5.0
# Full jitter as in the client, but so short that an outage of seconds is no matter of minutes.
JITTER_SCALE = 0.2
# Further ahead than this the client sends nothing.
FUTURE_SECONDS = 1
FAR_SECONDS = 300


class Habit(Protocol):
    """When and in which pieces a recorder reports what it records."""

    # Between two looks.
    pause_seconds: float

    def report(self, under_way: int) -> Iterable[Range]:
        """Ranges to send now, in epoch seconds, as is the second that is `under_way`."""

    def rest(self, under_way: int) -> Iterable[Range]:
        """What is left to report before the session's end."""


@dataclass
class Clock:
    """A local monotonic clock that drifts: at a rate of 1.05 it gains 3 seconds a minute."""

    rate: float = 1.0
    wall_ahead_seconds: float = 0.0

    def now(self) -> float:
        """Monotonic seconds by this clock."""
        return time.monotonic() * self.rate

    def wall(self) -> float:
        """Epoch seconds, more or less: they go as the monotonic ones do, and may be set. Ahead is
        what a machine sees that slept while its monotonic clock stood."""
        return self.now() + self.wall_ahead_seconds

    def real(self, seconds: float) -> float:
        """How long that lasts in truth."""
        return seconds / self.rate


@dataclass
class ServerClock:
    """By how much the server's clock is behind the machine's, all in all: faults set it back."""

    behind_seconds: float = 0.0

    def second(self) -> int:
        """Its present second."""
        return int(time.time() - self.behind_seconds)


class SimulatedRecorder:
    """One session, over any number of connections, until its end, or until it is abandoned."""

    def __init__(
        self,
        book: Book,
        url: str,
        token: str,
        habit: Habit,
        *,
        seed: int,
        clock: Clock | None = None,
        server: ServerClock | None = None,
        served: Mapping[int, int] | None = None,
    ) -> None:
        self.book = book
        self.offline_until = 0.0  # real monotonic seconds
        self.random = random.Random(seed)
        self._url = url
        self._token = token
        self._habit = habit
        self.clock = clock or Clock()
        self._server = server or ServerClock()
        self._served = {} if served is None else served  # by our port, the gateway's
        self.core = Core(
            book.session_id,
            kind="chaos",
            automatic=False,
            now=self.clock.now(),
            random=lambda: self.random.random() * JITTER_SCALE,
        )
        self._look_at = 0.0
        self._finishing = False
        self._too_early = False  # some seconds on this connection, as the server says
        self._frame_of: dict[int, int] = {}  # by epoch second; those not known to be counted
        self._sent_ahead: dict[int, float] = {}  # on this connection: those ahead of the server
        self._held_ahead: dict[int, float] = {}  # the same of those that are held after `finish`
        # Refused so, or recorded, when they were far ahead of what time it is in truth.
        self._ahead: set[int] = set()
        self._wake = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._origin: int | None = None

    # What the driver asks for ---------------------------------------------------------------------

    def finish(self) -> None:
        """Report the rest, and end the session."""
        self.book.asked = True
        now = self.clock.now()
        if self._records:
            under_way = self._under_way(now)
            if under_way is not None:
                self._add(self._habit.rest(under_way), now)
        self._finishing = True
        self.core.stop(now)
        self._wake.set()

    def go_offline(self, seconds: float) -> None:
        """Lose the connection, and have none for so long. It records on."""
        self.offline_until = max(self.offline_until, time.monotonic() + seconds)
        if self._socket is not None:
            self._socket.transport.abort()

    async def run(self) -> None:
        """Return when the session is over. Cancel it to make the recorder vanish."""
        core = self.core
        try:
            while not core.over:
                while core.phase is Phase.WAITING and self.clock.now() < core.connect_at:
                    await self._pause(core.connect_at)
                await self._connect_once()
            self.book.ended_at, self.book.end = time.monotonic(), core.end
            self._doubt(self.book.claimed & self._doubtful())
        except asyncio.CancelledError:
            self.book.note("vanishes")
            self.book.abandoned, self.book.vanished_at = True, time.monotonic()
            # Those of a clock that was far ahead can't be given back before it gets there.
            far = self._server.second() + FAR_SECONDS
            self._doubt({second for second in self.book.claimed if second > far})
            if self._socket is not None:
                self._socket.transport.abort()
            raise

    # One connection -------------------------------------------------------------------------------

    async def _connect_once(self) -> None:
        core = self.core
        core.connecting()
        if time.monotonic() < self.offline_until:
            core.lost(ABNORMAL, self.clock.now())
            return
        try:
            socket = await connect(self._url, OPEN_SECONDS)
        except (OSError, HandshakeRefusedError):
            core.lost(ABNORMAL, self.clock.now())
        else:
            await self._converse(socket)

    async def _converse(self, socket: ClientConnection) -> None:
        core, self._socket = self.core, socket
        reader = asyncio.create_task(self._read(socket))
        try:
            core.opened(self._token, self.clock.now())
            while not reader.done() and core.drop is None:
                for frame in core.frames_to_send():
                    await socket.send(frame)
                await self._pause()
        except ConnectionClosed:
            pass  # the core is told so below, and sends all again on the next one
        finally:
            self._socket = None
            dropped = core.drop
            if dropped is Drop.DEAD or not reader.done():
                await self._let_go(socket, dead=dropped is Drop.DEAD)
            reader.cancel()
            await asyncio.wait({reader})
        code = None if dropped is Drop.DEAD else socket.close_code
        core.lost(code or ABNORMAL, self.clock.now(), socket.close_reason or "")
        self._note()

    @staticmethod
    async def _let_go(socket: ClientConnection, *, dead: bool) -> None:
        if dead:
            socket.transport.abort()
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(socket.close(), 3.0)

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                self.core.received(await socket.recv(), self.clock.now())
                self._note()
                self._wake.set()
        self._wake.set()

    # Time and seconds -----------------------------------------------------------------------------

    async def _pause(self, until: float | None = None) -> None:
        """Until the next look, or `until` by our clock; then look, and let the core go on."""
        now = self.clock.now()
        moment = min(max(self._look_at, now), now + 1.0, self.core.next_wake(now))
        if until is not None:
            moment = min(moment, until)
        timer = asyncio.get_running_loop().call_later(
            self.clock.real(max(moment - now, 0.001)), self._wake.set
        )
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
            self._wake.clear()
        self._look(self.clock.now())

    @property
    def _records(self) -> bool:
        told_to_stop = self._finishing or self.book.stop_told_at is not None
        return not (self.core.over or told_to_stop)

    def _look(self, now: float) -> None:
        core = self.core
        if now >= self._look_at and self._records:
            self._look_at = now + self._habit.pause_seconds
            under_way = self._under_way(now)
            if under_way is not None:
                self._add(self._habit.report(under_way), now)
        if self._finishing:
            present = self._server.second()
            for second in self._held():
                self._held_ahead[second] = max(self._held_ahead.get(second, 0), second - present)
        core.advance(now, self.clock.wall())
        self._note()

    def _under_way(self, now: float) -> int | None:
        """The present second on the server's clock, in epoch seconds, as far as known."""
        second, origin = self.core.second_under_way(now), self.core.origin
        return None if second is None or origin is None else origin + second

    def _add(self, ranges: Iterable[Range], now: float) -> None:
        origin, under_way = self.core.origin, self._under_way(now)
        assert origin is not None
        assert under_way is not None
        for first, last in ranges:
            last = min(last, under_way)  # the clock may have been set back meanwhile
            if not self.book.begun_anew:  # a clock that is behind has moments before the session
                first = max(first, origin)
            if first > last:
                continue
            self.book.recorded.update(range(first, last + 1))
            self._ahead.update(range(max(first, int(time.time()) + FAR_SECONDS), last + 1))
            # The session may have begun anew since these were recorded.
            self.book.refuse(ErrorCode.SECOND_TOO_LATE, range(first, min(last + 1, origin)))
            if last >= origin:
                self.core.heartbeat(max(first - origin, 0), last - origin, now)

    # What was said --------------------------------------------------------------------------------

    def _note(self) -> None:
        for event in self.core.events():
            self._note_one(event)

    def _note_one(self, event: Event) -> None:
        book = self.book
        book.note(event)
        match event:
            case Started(origin=origin):
                self._note_origin(origin)
                book.connections += 1
                self._too_early = False
                self._frame_of.clear()
                self._sent_ahead.clear()
                book.heard_at = time.monotonic()
                if self._socket is not None:
                    book.gateway = self._served.get(self._socket.local_address[1])
                book.started_at = time.monotonic()
            case HeartbeatSent(frame=frame, first=first, last=last):
                origin = self._origin or 0
                seconds = range(origin + first, origin + last + 1)
                book.sent.update(seconds)
                self._frame_of.update(dict.fromkeys(seconds, frame))
                present = self._server.second()
                self._sent_ahead.update((second, second - present) for second in seconds)
            case Ack():
                self._note_counted(event)
                self._note_durable()
            case StopNotice(reason=reason):
                if book.stop_told_at is None:
                    book.stop_told_at, book.stop_reason = time.monotonic(), reason
            case Refused(code=code, seconds=seconds):
                book.refusals += 1
                if code == ErrorCode.SECOND_IN_FUTURE:
                    self._too_early = True
                    # It may mean any that no ack spoke of yet: later ones that cover their frames
                    # don't say that they count.
                    self._frame_of.clear()
                    # Numbered by a server's clock since set back. The message doesn't say which.
                    far = time.time() + FAR_SECONDS
                    self._ahead.update(second for second in book.recorded if second > far)
                before = self._origin or 0  # as it was before a new beginning
                for first, last in seconds:
                    book.refuse(code, range(before + first, before + last + 1))

    def _note_origin(self, origin: int) -> None:
        if self._origin is not None and self._origin != origin:
            now = time.monotonic()
            self.book.begun_anew.append((self.book.heard_at or now, now))
        self._origin = origin

    def _note_durable(self) -> None:
        """What the client has let go of is the server's to keep."""
        if self._origin is None or self._origin != self.core.origin:
            return
        self.book.durable |= self.book.claimed - self._held()

    def _note_counted(self, ack: Ack) -> None:
        """It speaks of the frames that it names, and of no later sending of the same seconds."""
        through = (self._origin or 0) + ack.counted_through
        frames = self.core.held.frames_sent if ack.heartbeats is None else ack.heartbeats
        known = {
            second
            for second, frame in self._frame_of.items()
            if second <= through and frame <= frames
        }
        self.book.counted |= known
        self.book.heard_at = time.monotonic()
        if ack.session_seconds >= len(self.book.sent):
            for second in self.book.counted - self.book.confirmed.keys():
                self.book.confirmed[second] = self.book.heard_at
        if ack.durable_through >= ack.counted_through:
            self.book.durable_seconds = max(self.book.durable_seconds, ack.session_seconds)
        for second in known:
            del self._frame_of[second]

    def _doubt(self, seconds: set[int]) -> None:
        present = self._server.second()
        self.book.doubtful = seconds
        self.book.ahead = {
            second: max(
                self._sent_ahead.get(second, 0), self._held_ahead.get(second, 0), second - present
            )
            for second in seconds
        }

    def _doubtful(self) -> set[int]:
        """What is held and may have been refused for being too early (the message doesn't say
        which), or wasn't even sent, as the clock was set back meanwhile. What was counted is sent
        again until it is durable, unless it is of a time that the server's clock has yet to
        reach."""
        present = self._under_way(self.clock.now()) or 0
        held = self._held()
        doubted = (held if self._too_early else set()) | self._ahead
        early = {second for second in held if second > present + FUTURE_SECONDS}
        far = {second for second in self._ahead if second > time.time() + FUTURE_SECONDS}
        return (doubted - self.book.counted) | early | far

    def _held(self) -> set[int]:
        """What the client still holds."""
        return {
            (self._origin or 0) + second
            for first, last in self.core.held.ranges()
            for second in range(first, last + 1)
        }
