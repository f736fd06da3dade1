"""Gateways, recorders and flushers of a simulation, and the books on who holds which second."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random

from gateway.counter import Counter
from gateway.keeper import KEEP_SECONDS
from gateway.metrics import Metrics
from gateway.opener import Opener
from gateway.tally import APART_SECONDS
from meter.codes import ErrorCode
from meter.ledger.types import LedgerUnavailable, Rules, SessionKey, StorageUnavailable
from minute_meter.events import Refused
from persistence.flusher import Flusher
from tests.gateway.simulated_recorder import Line, Recorder
from tests.gateway.simulated_servers import LedgerClient, LedgerServer
from tests.gateway.simulated_storage import Rows, SimulatedStorage, SimulatedWriter
from tests.gateway.virtual_time import VirtualClock

RULES = Rules(lost_after_seconds=15, resume_seconds=120)
REVIVED_AFTER_SECONDS = RULES.lost_after_seconds + 60
# A history, and how long it may take until all is settled.
HISTORY_SECONDS = 100.0
SETTLE_SECONDS = KEEP_SECONDS + 100
MANY_WAITS = 8
GATEWAYS = 2
# What is on its way, or in a stalled ledger.
LATE_SECONDS = 5


class Gateway:
    """A process of one."""

    def __init__(self, house: "House", number: int) -> None:
        self.number = number
        self.alive = True
        self.client = LedgerClient(house.ledger, fenced=True)
        self.heard: dict[SessionKey, set[int]] = {}
        self._house = house
        storage = SimulatedStorage(house.rows)
        self.opener = Opener(self.client, storage, house.clock.time)
        self.counter = Counter(
            self.client, self.opener, storage, Metrics(), 0.1, stop_wait_seconds=1.0
        )
        self._running = asyncio.create_task(self.counter.run())

    def accept(self, recorder: Recorder) -> Line:
        """A connection comes."""
        return Line(self, recorder, self._house.next_owner())

    def kill(self) -> None:
        """As SIGKILL; what was sent to others is on its way."""
        self.alive = False
        self._running.cancel()
        for task in (*self.counter._tasks, *self.opener._seeding.values()):
            task.cancel()
        for recorder in self._house.recorders:
            if recorder.line is not None and recorder.line.gate is self:
                recorder.line.cut(0, self._house.random.choice((0.0, 0.01, 1.0)))

    def kept(self, key: SessionKey) -> set[int]:
        """What it keeps of an ended session, as epoch seconds."""
        kept = self.counter.keeper._kept.get(key.session_id)
        if kept is None:
            return set()
        ranges = kept.tally.undurable.ranges()
        return {kept.state.origin + n for first, last in ranges for n in range(first, last + 1)}

    def busy(self) -> list[str]:
        """What it has still to do."""
        counter = self.counter
        # What ended by a clock that was behind is refused, and tried again and again for a day.
        kept = [each for each in counter.keeper._kept.values() if each._waits < MANY_WAITS]
        reasons = [f"gateway {self.number} keeps {len(kept)}"] * bool(kept)
        reasons += [f"gateway {self.number} speaks"] * bool(counter.speakers())
        reasons += [f"gateway {self.number} works"] * bool(counter._tasks)
        return reasons


class House:
    """All of them, and the books on who holds which second."""

    def __init__(self, seed: int, clock: VirtualClock, detailed: bool) -> None:
        self.detailed = detailed
        self.random = Random(seed)
        self.clock = clock
        self.trace: list[str] = []
        self.wrong: list[str] = []
        self.ledger = LedgerServer(RULES, clock, self.random, self.tell)
        self.ledger.stopped, self.ledger.refused = self.stopped, self.refuse
        self.rows = Rows(clock, self.random)
        self.recorders: list[Recorder] = []
        self.gateways: list[Gateway] = []
        self.excused: dict[SessionKey, set[int]] = {}
        self._owners = 0
        self._tasks: list[asyncio.Task[None]] = []

    # What recorders and connections ask for ---------------------------------------------------

    def next_owner(self) -> int:
        """A later connection's is greater."""
        self._owners += 1
        return self._owners

    def gate(self) -> Gateway | None:
        """Where a recorder comes in."""
        alive = [gateway for gateway in self.gateways if gateway.alive]
        return self.random.choice(alive) if alive else None

    def say(self, text: str) -> None:
        """Tell the history."""
        self.trace.append(f"{self.clock.monotonic():8.3f} {text}")

    def tell(self, text: str) -> None:
        """Tell it in detail, if asked to."""
        if self.detailed:
            self.say(text)

    def fail(self, text: str) -> None:
        """Something is wrong."""
        self.say(f"WRONG: {text}")
        self.wrong.append(text)

    def let_go(self, recorder: Recorder, moments: set[int]) -> None:
        """A recorder was told that these are durable."""
        owed = moments - recorder.doubtful
        missing = owed - self.rows.has(recorder.key) - self.excused.get(recorder.key, set())
        if missing:
            self.fail(f"recorder {recorder.number} let go of {_numbers(recorder, missing)}")

    def latest(self) -> float:
        """What is now both by the ledger's clock and in truth: the earlier of the two."""
        return self.clock.time() + min(self.ledger.clock_ahead, 0.0)

    def refused(self, recorder: Recorder, refused: Refused) -> None:
        """A recorder was told that seconds are refused: as early, if the clock was set; or as of a
        session that began by a clock that was ahead, and anew as nobody else knew it."""
        began = {ErrorCode.SECOND_TOO_LATE} if recorder.doubtful else set()
        if (
            refused.code not in {ErrorCode.SECOND_IN_FUTURE, *began}
            or not self.ledger.clock_was_set
        ):
            self.fail(f"recorder {recorder.number} is refused seconds: {refused}")

    def left(self, recorder: Recorder) -> None:
        """A recorder holds nothing any more: it vanished, or was told of its session's end. Unless
        an operator wanted that, others have all of it by then."""
        end = recorder.core.end
        if end is not None and not recorder.ended_by_operator:
            if end.reason != "stopped":
                self.fail(f"recorder {recorder.number} was told of an end: {end}")
            if lost := self._unheld(recorder):
                self.fail(f"recorder {recorder.number} left {_numbers(recorder, lost)} to nobody")
        self.excuse()

    # The books --------------------------------------------------------------------------------

    def excuse(self) -> None:
        """Something was lost: what nobody is to hold any more is no longer owed."""
        for recorder in self.recorders:
            lost = self._unheld(recorder)
            if lost:
                self.tell(f"excused of recorder {recorder.number}: {_numbers(recorder, lost)}")
                self.excused.setdefault(recorder.key, set()).update(lost)

    def _unheld(self, recorder: Recorder) -> set[int]:
        """What nobody is to hold any more. A gateway is to hold what it was told is counted, also
        what it heard of a recorder that vanished; recorders all, or what they would send again."""
        if recorder.holds and not recorder.trusting:
            return set()
        held = recorder.held() if recorder.holds else set()
        held |= self.rows.has(recorder.key) | self.ledger.counted(recorder.key)
        for gateway in self.gateways:
            if gateway.alive:
                held |= gateway.client.confirmed.get(recorder.key, set())
                held |= gateway.kept(recorder.key)
                if recorder.vanished and not recorder.ended_by_operator:
                    held |= gateway.heard.get(recorder.key, set())
        owed = recorder.owed()
        return owed - held - self.excused.get(recorder.key, set())

    def stopped(self, key: SessionKey) -> None:
        """An operator ends a session: what isn't counted by then need not count."""
        moment = int(self.latest())
        for recorder in self.recorders:
            if recorder.key == key:
                recorder.counts_until = min(recorder.counts_until, moment)
                known = self.rows.has(key) | self.ledger.counted(key)
                for gateway in self.gateways:
                    known |= gateway.client.confirmed.get(key, set())
                self.excused.setdefault(key, set()).update(recorder.recorded - known)

    def refuse(self, key: SessionKey) -> None:
        """The ledger calls seconds early. A gateway doesn't take its own clock for so exact that it
        keeps those for a later time that are new."""
        since = self.clock.time() - APART_SECONDS - LATE_SECONDS
        for recorder in self.recorders:
            if recorder.key == key:
                recorder.just_refused.update(each for each in recorder.recorded if each > since)

    def audit(self) -> None:
        """At the end: all that is owed is in rows, and nothing else."""
        for recorder in self.recorders:
            billed = self.rows.has(recorder.key)
            owed = {moment for moment in recorder.owed() if moment < recorder.counts_until}
            lost = owed - billed - self.excused.get(recorder.key, set())
            if lost:
                self.fail(f"recorder {recorder.number} lost {_numbers(recorder, lost)}")
            if billed - recorder.recorded:
                self.fail(f"recorder {recorder.number} did not record {billed - recorder.recorded}")

    # What goes on by itself -------------------------------------------------------------------

    def spawn(self, work: Callable[[], object], seconds: float) -> None:
        """Do something later."""
        asyncio.get_running_loop().call_later(seconds, work)

    def start_gateway(self) -> None:
        """Another one."""
        self.gateways.append(Gateway(self, len(self.gateways) + 1))

    def start_recorder(self) -> None:
        """Another one."""
        recorder = Recorder(self, len(self.recorders) + 1)
        self.recorders.append(recorder)
        self._tasks.append(asyncio.create_task(recorder.run()))

    async def _flush_for_ever(self) -> None:
        client = LedgerClient(self.ledger, fenced=False)
        flusher = Flusher(client, SimulatedWriter(self.rows), clock=self.clock.time)
        while True:
            await asyncio.sleep(self.random.uniform(0.5, 1.5))
            try:
                await flusher.flush()
            except (LedgerUnavailable, StorageUnavailable):
                await asyncio.sleep(0.5)

    async def _revive_for_ever(self) -> None:
        client = LedgerClient(self.ledger, fenced=False)
        while True:
            await asyncio.sleep(10)
            try:
                quiet = self.rows.quiet(REVIVED_AFTER_SECONDS)
                known = await client.recall([stored.state.key for stored in quiet])
                for stored, state in zip(quiet, known, strict=True):
                    if state is None:
                        await client.restore_session(stored)
            except LedgerUnavailable:
                continue

    # A history --------------------------------------------------------------------------------

    async def live(self, rage: Callable[[], Coroutine[None, None, None]]) -> None:
        """All of it, with what breaks meanwhile (`rage`), and the reckoning."""
        for _ in range(GATEWAYS):
            self.start_gateway()
        works = [self._flush_for_ever(), self._flush_for_ever(), self._revive_for_ever()]
        self._tasks += [asyncio.create_task(work) for work in works]
        for _ in range(self.random.randint(2, 5)):
            self.spawn(self.start_recorder, self.random.uniform(0, HISTORY_SECONDS / 2))
        await rage()
        while sum(gateway.alive for gateway in self.gateways) < GATEWAYS:
            self.start_gateway()
        self.say("all is well again")
        for recorder in self.recorders:
            self.spawn(recorder.stop, self.random.uniform(0, 5))
        await self._settle()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self.fail(f"failed: {error!r}")
        self.audit()

    async def _settle(self) -> None:
        async def settled() -> None:
            while self._unsettled():  # noqa: ASYNC110
                await asyncio.sleep(1.0)

        await asyncio.sleep(6)
        try:
            await asyncio.wait_for(settled(), SETTLE_SECONDS)
        except TimeoutError:
            self.fail(f"not settled: {self._unsettled()}")

    def _unsettled(self) -> list[str]:
        reasons = [f"recorder {each.number} goes on" for each in self.recorders if each.holds]
        for session in self.ledger.model.sessions.values():
            if session.ended_at is None or session.pending or session.revision != session.durable:
                reasons.append(f"the ledger has {session.key.session_id} due")
        for row in self.rows.rows.values():
            # What is of a clock that was ahead may not be in order before that time.
            latest = max(self.rows.has(row.state.key), default=row.state.origin)
            latest = max(latest, row.state.revision // 1_000_000)
            if row.state.ended_at is None and latest <= self.clock.time():
                reasons.append(f"{row.state.key.session_id} is live by its row")
        for gateway in self.gateways:
            if gateway.alive:
                reasons += gateway.busy()
        return reasons


def _numbers(recorder: Recorder, moments: set[int]) -> list[int]:
    origin = recorder.core.origin or 0
    return sorted(moment - origin for moment in moments)
