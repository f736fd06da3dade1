"""Recorders and their connections in a simulation: the client's own state machine on one side, the
gateway's session on the other, and between them frames that take their time, in order."""

import asyncio
from random import Random
from typing import Protocol
from uuid import UUID

from gateway.counter import Counter
from meter.ledger.types import SessionKey
from meter.messages import Heartbeat, MessageError, Stopped, decode, encoded
from minute_meter import wire
from minute_meter.core import ABNORMAL, Core
from minute_meter.events import Phase, Refused
from tests.gateway.counting import Peer
from tests.gateway.driving import ALICE

# Frames keep their order: timers of one moment would not.
TICK = 1e-6
# It looks every two seconds, and may be without a connection for some.
LEAP_SECONDS = 45
# The ledger takes seconds that are so early.
FUTURE_SECONDS = 2


class Gate(Protocol):
    """A gateway, as connections see it."""

    alive: bool
    counter: Counter
    heard: dict[SessionKey, set[int]]

    def accept(self, recorder: "Recorder") -> "Line": ...


class Judge(Protocol):
    """Who is told what recorders see."""

    random: Random

    def gate(self) -> Gate | None: ...

    def say(self, text: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def fail(self, text: str) -> None: ...

    def let_go(self, recorder: "Recorder", moments: set[int]) -> None: ...

    def refused(self, recorder: "Recorder", refused: Refused) -> None: ...

    def latest(self) -> float: ...

    def left(self, recorder: "Recorder") -> None: ...


class Line(Peer):
    """A connection, of which each side may know for itself that it is gone."""

    def __init__(self, gate: Gate, recorder: "Recorder", owner: int) -> None:
        super().__init__(gate.counter, recorder.number, owner)
        self.gate = gate
        self.recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._up_at = self._down_at = 0.0
        self._up_ends = self._down_ends = float("inf")
        self._closing = False

    def __hash__(self) -> int:
        return self.session.owner  # so that sets have the same order each time

    def __eq__(self, other: object) -> bool:
        return self is other

    def up(self, frame: str) -> None:
        """The client sends."""
        self._up_at = max(self._up_at + TICK, self._loop.time() + self._pause())
        self._loop.call_at(self._up_at, self._arrive, frame)

    def _arrive(self, frame: str) -> None:
        if self.connected and self.gate.alive and self._loop.time() <= self._up_ends:
            self._note(frame)
            self._frame(frame)

    def _note(self, frame: str) -> None:
        try:
            message = decode(frame)
        except MessageError as error:
            self.recorder.judge.fail(f"a frame that is no message: {error.detail}")
            return
        session = self.session
        if isinstance(message, Heartbeat) and session.hearing and session.state is not None:
            first, last = message.bounds() or (0, -1)
            origin = session.state.origin
            heard = self.gate.heard.setdefault(session.key, set())
            heard.update(range(origin + first, origin + last + 1))

    def perform(self) -> None:
        """Do what the session asks for; what it sends goes on its way."""
        if not self.gate.alive:
            return
        super().perform()
        sent, self.sent = self.sent, []
        for message in sent:
            self._down(encoded(message))  # type: ignore[arg-type]
        if self.closed is not None and not self._closing:
            self._closing = True
            self._down_at = max(self._down_at + TICK, self._loop.time() + self._pause())
            self._loop.call_at(self._down_at, self._close, self.closed)

    def _down(self, frame: bytes) -> None:
        self._down_at = max(self._down_at + TICK, self._loop.time() + self._pause())
        self._loop.call_at(self._down_at, self._deliver, frame)

    def _deliver(self, frame: bytes) -> None:
        if self._loop.time() <= self._down_ends:
            self.recorder.hear(self, frame)

    def _close(self, code: int) -> None:
        if self._loop.time() <= self._down_ends:
            self.recorder.lost(self, code)
            self._loop.call_later(self._pause(), self.gone)

    def gone(self) -> None:
        """The gateway learns that the connection is."""
        if self.connected and self.gate.alive:
            self.leave()

    def cut(self, noticed_after: float, client_after: float, late: float = 0.0) -> None:
        """It breaks: what is under way comes for so long (`late`); each side learns of it later."""
        now = self._loop.time()
        self._up_ends = min(self._up_ends, now + late)
        self._down_ends = min(self._down_ends, now)
        self._loop.call_later(noticed_after, self.gone)
        self._loop.call_later(client_after, self.recorder.lost, self, ABNORMAL)

    def _pause(self) -> float:
        random = self.recorder.judge.random
        return random.uniform(0.05, 1.5) if random.random() < 0.03 else random.uniform(0.001, 0.02)


class Recorder:
    """Records now and then, until it stops or vanishes. `recorded` are the epoch seconds in which
    it recorded something; `doubtful` those of them that were early by the ledger's clock, or in
    truth, and `just_refused` those that were new when some were; `holds` says whether it is still
    there."""

    def __init__(self, judge: Judge, number: int) -> None:
        self.judge = judge
        self.number = number
        self.key = SessionKey(ALICE.organization_id, str(UUID(int=number)))
        self.recorded: set[int] = set()
        self.doubtful: set[int] = set()
        self.just_refused: set[int] = set()
        self.vanished = self._stopping = False
        self.ended_by_operator = False
        self.counts_until = float("inf")  # an operator's stop
        self.line: Line | None = None
        self._loop = asyncio.get_running_loop()
        random = judge.random
        self.core = Core(
            UUID(int=number),
            automatic=False,
            now=self._loop.time(),
            random=lambda: random.random() * 0.3,
        )
        # One that takes what is counted for safe, and never sends it again. That is enough for one
        # that vanishes: its gateway and the ledger have it then, so that either may be lost.
        self.trusting = random.random() < 0.4
        self.eager = random.uniform(0.3, 0.95)
        self._next = 0  # the first second that it may record

    @property
    def holds(self) -> bool:
        return not self.vanished and not self.core.over

    def owed(self) -> set[int]:
        """What has to be billed. It sends again what was refused, unless it is gone."""
        gone = self.vanished or self.ended_by_operator
        return self.recorded - self.doubtful - (self.just_refused if gone else set())

    async def run(self) -> None:
        """Go on until the end."""
        while self.holds:
            self.tick()
            await asyncio.sleep(self.judge.random.uniform(0.2, 2.0))

    def tick(self) -> None:
        """A moment of its life."""
        now = self._loop.time()
        self._record(now)
        if self._stopping:
            self._give_up_early()
        self.core.advance(now)
        self._pump()
        if self.core.drop is not None and self.line is not None:
            self.line.cut(self.judge.random.uniform(0, 5), 0)
            self.lost(self.line, ABNORMAL)
        if self.core.phase is Phase.WAITING and now >= self.core.connect_at:
            self._connect()

    def _record(self, now: float) -> None:
        under_way = self.core.second_under_way(now)
        random = self.judge.random
        if under_way is None or self.core.state not in ("recording", "paused", "reconnecting"):
            return
        last = under_way + (random.random() < 0.1)
        if last > self._next + LEAP_SECONDS:
            self._next = last  # the clock was set
        while self._next <= last:
            first = self._next
            self._next = min(last, first + random.randrange(4)) + 1
            if random.random() < self.eager:
                self._heartbeat(first, self._next - 1, now)
        if random.random() < 0.1 and last > 0:  # once more, or late
            second = random.randint(max(last - 40, 0), last)
            self._heartbeat(second, second, now)

    def _heartbeat(self, first: int, last: int, now: float) -> None:
        origin = self.core.origin
        assert origin is not None
        self.core.heartbeat(first, last, now)
        moments = range(origin + first, origin + last + 1)
        self.recorded.update(moments)
        self.doubtful.update(each for each in moments if each > self.judge.latest())

    def _give_up_early(self) -> None:
        # It doesn't wait for an hour.
        latest = self.judge.latest() + FUTURE_SECONDS
        self.doubtful.update(each for each in self.held() if each > latest)

    def stop(self) -> None:
        """Its user stops it."""
        if self.holds and self.trusting:
            self.vanish()
        elif self.holds:
            self.judge.say(f"recorder {self.number} stops")
            self._stopping = True
            self._give_up_early()
            self.core.stop(self._loop.time())
            self._pump()

    def vanish(self) -> None:
        """It is gone, with all it holds."""
        self.judge.say(f"recorder {self.number} vanishes")
        self.vanished = True
        if self.line is not None:
            self.line.cut(self.judge.random.uniform(0, 3), 0)
        self.judge.left(self)

    def _connect(self) -> None:
        self.core.connecting()
        gate = self.judge.gate()
        if gate is None:
            self.core.lost(ABNORMAL, self._loop.time())
            return
        self.line = gate.accept(self)
        self._loop.call_later(self.judge.random.uniform(0.001, 0.05), self._opened, self.line)

    def _opened(self, line: Line) -> None:
        if line is self.line and self.holds:
            self.core.opened("token", self._loop.time())
            self._pump()

    def hear(self, line: Line, frame: bytes) -> None:
        """A frame came from the gateway."""
        if line is not self.line or not self.holds:
            return
        self.judge.tell(f"{self.number} < {frame.decode()[:130]}")
        before, origin = self.held(), self.core.origin
        self.core.received(frame, self._loop.time())
        if origin is not None and self.core.origin is not None:
            # The same moments have other numbers now.
            self._next = max(self._next + origin - self.core.origin, 0)
        message = wire.decode(frame)
        if not isinstance(message, Stopped):
            self.judge.let_go(self, before - self.held())
            if self.trusting and isinstance(message, wire.Ack):
                self.core.held.let_go(message.counted_through, message.heartbeats or 0)
        elif not self.ended_by_operator:  # whose end comes before what is sent later
            assert origin is not None
            through = origin + message.durable_through
            self.judge.let_go(self, {moment for moment in before if moment <= through})
        self._pump()
        self._ask_how_it_ended()

    def lost(self, line: Line, code: int) -> None:
        """The connection is gone, as far as the client can tell."""
        if line is self.line and self.holds:
            self.line = None
            self.core.lost(code, self._loop.time())
            self._ask_how_it_ended()

    def held(self) -> set[int]:
        """What it would send again, as epoch seconds."""
        origin = self.core.origin or 0
        ranges = self.core.held.ranges()
        return {origin + n for first, last in ranges for n in range(first, last + 1)}

    def _pump(self) -> None:
        for frame in self.core.frames_to_send():
            if self.line is not None:
                self.judge.tell(f"{self.number} > {frame}")
                self.line.up(frame)
        for event in self.core.events():
            if isinstance(event, Refused):
                self.judge.refused(self, event)

    def _ask_how_it_ended(self) -> None:
        if self.core.over:
            self.judge.say(f"recorder {self.number} is over: {self.core.end}")
            self.judge.left(self)
