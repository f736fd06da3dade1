"""Counts what sessions have heard: collects it for some tens of milliseconds, and counts all of it
in one round trip.

What the ledger could not take waits in the sessions, as one set of seconds each; nothing here grows
with the number of messages. One session's trouble is never another's.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Protocol

from gateway.alerter import Alerter
from gateway.keeper import Keeper
from gateway.kept import Kept
from gateway.metrics import Metrics
from gateway.opener import Opener, OpenerLedger
from gateway.openings import Openings
from gateway.recovery import RETRY_SECONDS, Recovery, Speaker, is_curable
from gateway.roster import Roster
from gateway.session import COUNTED, RecorderSession
from gateway.weighing import Weighing
from meter.codes import EndReason
from meter.ledger.types import (
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    SessionKey,
    SessionState,
    Storage,
)
from meter.usage import is_limited

logger = logging.getLogger(__name__)

MAX_BATCH = 4096
# With those that are opened, below the ledger's connections, so that no call waits for one until
# it times out.
ENDING_AT_ONCE = 12
# How often sessions are looked for that were not answered for long; and how often others' turn is.
LOOK_TICK_SECONDS = 0.2
SESSION_TICK_SECONDS = 0.5


class LedgerCalls(OpenerLedger, Protocol):
    """What the counter needs of `meter.ledger.driver.Ledger`."""

    @property
    def generation(self) -> int: ...

    async def count(self, items: list[CountItem]) -> list[Counted]: ...

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]: ...

    async def give_back(self, item: CountItem) -> Counted: ...

    async def close(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None: ...

    async def note_told(self, told: list[tuple[SessionKey, str]]) -> None: ...


class Counter:
    """One a gateway process."""

    def __init__(
        self,
        ledger: LedgerCalls,
        opener: Opener,
        storage: Storage,
        metrics: Metrics,
        tick_seconds: float = 0.05,
        stop_wait_seconds: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._opener = opener
        self._metrics = metrics
        self._tick_seconds = tick_seconds
        self._stop_wait_seconds = stop_wait_seconds
        self.keeper = Keeper(ledger, opener, self._heed)
        self._queue: dict[Speaker, None] = {}
        self._roster = Roster()
        self.openings = Openings(opener, self._roster, self.keeper, stop_wait_seconds)
        self._weighing = Weighing(ledger, Alerter(storage), self._roster, self.spawn)
        self._generation = ledger.generation
        self._tasks: set[asyncio.Task[None]] = set()
        self._flushing = asyncio.Lock()
        self._end_slots = asyncio.Semaphore(ENDING_AT_ONCE)
        self.recovery = Recovery(opener, self.spawn, self._recovered)

    # Faces for connections --------------------------------------------------------------------

    def queue(self, speaker: Speaker) -> None:
        """Count what this session has heard with the next batch."""
        self._queue[speaker] = None

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something in the background, held until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background work failed", exc_info=error)

    def _recovered(self, speaker: Speaker) -> None:
        if not speaker.session.finished:
            self.queue(speaker)
        speaker.perform()
        if not speaker.connected:
            self.forget(speaker)

    async def end(self, speaker: Speaker, reason: EndReason) -> None:
        """End a session. If the ledger is away it may come back without all of it, and an end can't
        be undone: then the session has all counted first, and asks again. If it calls early what it
        had lost, the keeper ends the session once it has taken that."""
        session, state = speaker.session, None
        if session.tally.doubted and (kept := self._keep(session, reason)) is not None:
            tally = session.tally
            state = replace(kept.state, seconds=tally.seconds, highest=tally.undurable.highest())
            self._tell_end(speaker, await self._durable(kept, state))
            return
        async with self._end_slots:
            try:
                state = await self._ledger.close(session.key, reason, session.tally.seconds)
            except LedgerUnavailable as error:
                logger.warning("a session could not be ended yet: %s", error)
        await self._finish(speaker, reason, state)

    async def _finish(
        self, speaker: Speaker, reason: EndReason, state: SessionState | None
    ) -> None:
        """Tell of the end, or that it hasn't come yet."""
        session = speaker.session
        if state is not None and (kept := self._keep(session, reason)) is not None:
            state = await self._durable(kept, state)
        self._tell_end(speaker, state)

    def _tell_end(self, speaker: Speaker, state: SessionState | None) -> None:
        speaker.session.ended(state)
        speaker.perform()
        self.forget(speaker)

    async def _durable(self, kept: Kept, state: SessionState) -> SessionState:
        """An ended session once it is durable. Its recorder keeps its seconds, too, as long as it
        isn't told of the end: so that waits for Postgres, though not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_wait_seconds):
                await kept.released.wait()
        undurable = kept.tally.undurable
        through = undurable.lowest() - 1 if undurable else state.highest
        return replace(state, durable_through=through)

    def _keep(self, session: RecorderSession, end: EndReason | None) -> Kept | None:
        """Keep what a session counted until it is durable; None where it all is."""
        if session.request is None or session.state is None:
            return None
        now = time.monotonic()
        return self.keeper.keep(session.request, session.state, session.tally, now, end)

    def forget(self, speaker: Speaker) -> None:
        """A connection is gone; its session stays known until it has nothing left to do."""
        session = speaker.session
        if session.state is None or session.unfinished:
            return
        if self._roster.leave(session.key.session_id, speaker):
            self._keep(session, None)

    def undurable_seconds(self) -> int:
        """How many counted seconds are kept here, as Postgres isn't known to have them."""
        # One that is ending may be among both.
        live = [
            each.session.tally
            for each in self.speakers()
            if each.session.key.session_id not in self.keeper
        ]
        return self.keeper.seconds() + sum(len(tally.undurable) for tally in live)

    def speakers(self) -> list[Speaker]:
        """All connections that speak for a session."""
        return self._roster.speakers()

    # The loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Count for ever."""
        looked = ticked = time.monotonic()
        while True:
            await asyncio.sleep(self._tick_seconds)
            try:
                await self.flush()
            except Exception:
                logger.exception("counting goes on after")
                await asyncio.sleep(RETRY_SECONDS)
            now = time.monotonic()
            if self.keeper.is_due(now):
                self.spawn(self.keeper.look(now))
            if now - looked >= LOOK_TICK_SECONDS:
                looked = now
                self._roster.tick_silent(now)
            if now - ticked >= SESSION_TICK_SECONDS:
                ticked = now
                self._tick(now)

    def _tick(self, now: float) -> None:
        self._roster.tick(now)
        self.keeper.prune(now)
        self._weighing.tick(now)

    async def flush(self) -> bool:
        """Count what is queued. False when the ledger was away."""
        async with self._flushing:  # a session's seconds are in flight once at a time
            full = True
            while full and (batch := list(islice(self._queue, MAX_BATCH))):
                full = len(batch) == MAX_BATCH
                for speaker in batch:
                    del self._queue[speaker]
                if self.recovery:  # they are queued again once they have recovered
                    batch = [each for each in batch if each not in self.recovery]
                # What comes during the round trip waits for the next tick: a call costs more than
                # the seconds in it.
                if batch and not await self._count(batch):
                    return False
        return True

    async def settle(self, timeout_seconds: float) -> None:
        """Count what is left and end what is ending, before the process goes away; and stay with
        what only it and the ledger hold, for as long as `stopped` would wait for that."""
        stay_until = time.monotonic() + self._stop_wait_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while (
                    self._queue
                    or self.recovery
                    or self._tasks
                    or (self.keeper.ended and time.monotonic() < stay_until)
                ):
                    await self.flush()
                    await asyncio.sleep(self._tick_seconds)

    async def aclose(self) -> None:
        """Give up what still goes on in the background."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _count(self, batch: list[Speaker]) -> bool:
        items = [_item(each.session) for each in batch]
        started = time.monotonic()
        try:
            replies = await self._ledger.count(items)
        except LedgerUnavailable as error:
            logger.warning("%d sessions wait for the ledger: %s", len(batch), error)
            self._metrics.ledger_failures.inc()
            self._put_back(batch)
            await asyncio.sleep(RETRY_SECONDS)
            return False
        except Exception:
            return await self._count_apart(batch)
        except BaseException:
            self._put_back(batch)
            raise
        self._heed()
        now = time.monotonic()
        self._metrics.batch(len(batch), now - started, sum([reply.new for reply in replies]))
        for speaker, reply in zip(batch, replies, strict=True):
            try:
                self._answer(speaker, reply, now)
            except Exception:
                logger.exception("a session could not take its count")
        self._weighing.counted()
        return True

    def _heed(self) -> bool:
        """Doubt what is held of all sessions if the ledger's server has become another one, which
        may lack the former's last writes; whether it has."""
        present = self._ledger.generation
        if present == self._generation:
            return False
        self._generation = present
        for speaker in self.speakers():
            speaker.session.tally.doubt()
        self.keeper.doubt()
        return True

    def _put_back(self, batch: Iterable[Speaker]) -> None:
        for speaker in batch:
            speaker.session.not_counted()
            self._queue[speaker] = None

    async def _count_apart(self, batch: list[Speaker]) -> bool:
        """A batch failed in a way that no outage explains: find whose it is, and count the rest."""
        for speaker in batch:
            speaker.session.not_counted()
        if len(batch) == 1:
            logger.exception("a session's seconds can't be counted now")
            self.recovery.rest(batch[0])
            return True
        half = len(batch) // 2
        counted = await self._count(batch[:half])
        return await self._count(batch[half:]) and counted

    def _answer(self, speaker: Speaker, reply: Counted, now: float) -> None:
        session = speaker.session
        if reply.status is COUNTED:
            told = session.tally.told
            session.counted(reply, now, self._opener.moment() if reply.in_future else 0)
            if session.tally.fell:
                self.recovery.verify(speaker)
            self._roster.answered(session.key.session_id, speaker)
            assert reply.standing is not None
            if is_limited(reply.standing):
                self._weighing.weigh(session, reply.standing, told, now)
        else:
            self._answer_uncounted(speaker, reply, now)
        if session.outbox:
            speaker.perform()
        if not speaker.connected:
            self.forget(speaker)

    def _answer_uncounted(self, speaker: Speaker, reply: Counted, now: float) -> None:
        session = speaker.session
        if is_curable(speaker, reply):
            session.not_counted()
            self.recovery.cure(speaker, reply.status)
            return
        reason = EndReason(reply.end_reason) if reply.status is CountStatus.ENDED else None
        if reason is not None and session.state is not None and session.ends_by(reason):
            state = replace(session.state, seconds=reply.seconds, highest=reply.highest)
            self.spawn(self._finish(speaker, reason, state))  # the answer was cut off
            return
        session.counted(reply, now, 0)
        if reason is not None:  # what is lost can be undone
            self._keep(session, None if reason is EndReason.LOST else reason)


def _item(session: RecorderSession) -> CountItem:
    state = session.state
    assert state is not None
    return CountItem(state.key, session.take(), state.origin)
