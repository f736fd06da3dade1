"""Counts what sessions have heard: collects it for some tens of milliseconds, and counts all of it in
one round trip. Opens and ends sessions, and gives an emptied ledger back what it lost.

What the ledger could not take waits in the sessions, as one set of seconds each; nothing here grows
with the number of messages.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Protocol, TypeVar

from gateway.metrics import Metrics
from gateway.session import RecorderSession
from meter.codes import EndReason
from meter.ledger.types import (
    AccountFigures,
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    Opened,
    OpenRequest,
    OpenStatus,
    SessionKey,
    SessionState,
    Storage,
    StorageUnavailable,
    StoredSession,
)
from meter.periods import around

logger = logging.getLogger(__name__)

MAX_BATCH = 4096
OPENING_AT_ONCE = 24
RECOVERING_AT_ONCE = 16
RETRY_SECONDS = 0.5

Result = TypeVar("Result")


class LedgerCalls(Protocol):
    """What the counter needs of `meter.ledger.driver.Ledger`."""

    async def open(self, request: OpenRequest) -> Opened: ...

    async def count(self, items: list[CountItem]) -> list[Counted]: ...

    async def close(self, key: SessionKey, reason: EndReason) -> SessionState | None: ...

    async def seed_account(self, figures: AccountFigures) -> int: ...

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool: ...


class Speaker(Protocol):
    """A connection as the counter sees it: its session, and what does the session's actions."""

    session: RecorderSession

    @property
    def connected(self) -> bool: ...

    def perform(self) -> None: ...


class Counter:
    """One a gateway process."""

    def __init__(
        self, ledger: LedgerCalls, storage: Storage, metrics: Metrics, tick_seconds: float = 0.05
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._metrics = metrics
        self._tick_seconds = tick_seconds
        self._queue: dict[Speaker, None] = {}
        self._speakers: dict[str, Speaker] = {}
        self._recovering: set[Speaker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._seeding = asyncio.Semaphore(RECOVERING_AT_ONCE)

    # Faces for connections --------------------------------------------------------------------

    def queue(self, speaker: Speaker) -> None:
        """Count what this session has heard with the next batch."""
        if speaker not in self._recovering:
            self._queue[speaker] = None

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something in the background, held until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open(self, speaker: Speaker, request: OpenRequest) -> None:
        """Open a session for a connection, and let it speak for the session from then on."""
        session = speaker.session
        try:
            async with self._opening:
                answer = await self._open(request)
        except (LedgerUnavailable, StorageUnavailable) as error:
            logger.warning("a session could not be opened: %s", error)
            session.unavailable()
        else:
            session.opened(answer, time.monotonic())
            if answer.session is not None:
                self._take_over(speaker, request.key.session_id)
        speaker.perform()

    def _take_over(self, speaker: Speaker, session_id: str) -> None:
        before = self._speakers.get(session_id)
        if speaker.session.state is None:
            return  # the client left while its session was being opened
        self._speakers[session_id] = speaker
        if before is not None and before is not speaker:
            speaker.session.inherit(before.session)
            before.session.superseded()
            before.perform()

    async def end(self, speaker: Speaker, reason: EndReason) -> None:
        """End a session, however long the ledger takes to come back."""
        session = speaker.session

        async def close() -> SessionState:
            state = await self._ledger.close(session.key, reason)
            if state is None:
                await self._restore(session)
                raise LedgerUnavailable("the ledger had lost the session")
            return state

        state = await self._insist(close)
        session.ended(state)
        speaker.perform()
        self.forget(speaker)

    def forget(self, speaker: Speaker) -> None:
        """A connection is gone; its session stays known until all that was heard is counted."""
        state = speaker.session.state
        if state is None or speaker.session.has_pending:
            return
        if self._speakers.get(state.key.session_id) is speaker:
            del self._speakers[state.key.session_id]

    def speakers(self) -> list[Speaker]:
        """All connections that speak for a session."""
        return list(self._speakers.values())

    # The loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Count for ever."""
        ticked = time.monotonic()
        while True:
            await asyncio.sleep(self._tick_seconds)
            await self.flush()
            now = time.monotonic()
            if now - ticked >= 1.0:
                ticked = now
                self._tick(now)

    def _tick(self, now: float) -> None:
        for speaker in self.speakers():
            speaker.session.tick(now)
            speaker.perform()

    async def flush(self) -> bool:
        """Count what is queued. False when the ledger was away."""
        while batch := list(islice(self._queue, MAX_BATCH)):
            for speaker in batch:
                del self._queue[speaker]
            if not await self._count(batch):
                return False
        return True

    async def settle(self, timeout_seconds: float) -> None:
        """Count what is left and end what is ending, before the process goes away."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._queue or self._recovering or self._tasks:
                    await self.flush()
                    await asyncio.sleep(self._tick_seconds)

    async def _count(self, batch: list[Speaker]) -> bool:
        items = [CountItem(each.session.key, each.session.take()) for each in batch]
        started = time.monotonic()
        try:
            replies = await self._ledger.count(items)
        except LedgerUnavailable as error:
            logger.warning("%d sessions wait for the ledger: %s", len(batch), error)
            self._metrics.ledger_failures.inc()
            for speaker in batch:
                speaker.session.not_counted()
                self._queue[speaker] = None
            await asyncio.sleep(RETRY_SECONDS)
            return False
        now = time.monotonic()
        self._metrics.batch(len(batch), now - started)
        for speaker, reply in zip(batch, replies, strict=True):
            self._answer(speaker, reply, now)
        return True

    def _answer(self, speaker: Speaker, reply: Counted, now: float) -> None:
        session = speaker.session
        cure = self._cure(speaker, reply)
        if cure is None:
            session.counted(reply, now)
            self._metrics.seconds.inc(reply.new)
        else:
            session.not_counted()
            self._recovering.add(speaker)
            self.spawn(self._recover(speaker, cure))
        if session.outbox:
            speaker.perform()
        if not speaker.connected:
            self.forget(speaker)

    def _cure(
        self, speaker: Speaker, reply: Counted
    ) -> Callable[[], Awaitable[object]] | None:
        """What has to be done before this session's seconds can be counted; None: nothing."""
        session = speaker.session
        if reply.status is CountStatus.ACCOUNT_COLD:
            request = session.request
            assert request is not None
            return lambda: self._seed(request, time.time())
        if reply.status is CountStatus.ABSENT:
            return lambda: self._restore(session)
        # After an outage the sweep may be quicker than the first heartbeat.
        lost = reply.status is CountStatus.ENDED and reply.end_reason == EndReason.LOST
        if lost and (speaker.connected or session.has_pending):
            return lambda: self._reopen(session)
        return None

    async def _recover(self, speaker: Speaker, cure: Callable[[], Awaitable[object]]) -> None:
        await self._insist(cure)
        self._recovering.discard(speaker)
        self.queue(speaker)

    async def _insist(self, act: Callable[[], Awaitable[Result]]) -> Result:
        for delay in _delays():
            try:
                return await act()
            except (LedgerUnavailable, StorageUnavailable) as error:
                logger.warning("trying again in %.1f s: %s", delay, error)
                await asyncio.sleep(delay)
        raise AssertionError("delays are endless")

    # Opening, and giving back -----------------------------------------------------------------

    async def _open(self, request: OpenRequest) -> Opened:
        # Cold account, unknown session, then open; twice over if the ledger is emptied meanwhile.
        for _ in range(6):
            answer = await self._ledger.open(request)
            if answer.status is OpenStatus.ACCOUNT_COLD:
                await self._seed(request, answer.server_time)
            elif answer.status is OpenStatus.ABSENT:
                found = await self._find(request)
                if isinstance(found, OpenStatus):
                    return Opened(found, answer.server_time)
                request = found
            else:
                return answer
        raise LedgerUnavailable("the ledger keeps losing what it is given")

    async def _find(self, request: OpenRequest) -> OpenRequest | OpenStatus:
        """Restore a session that only Postgres knows, or allow to create it."""
        try:
            stored = await self._storage.load_session(request.key.session_id)
        except StorageUnavailable:
            # The account is warm, so its limits are known. Should the id be an old one, its new
            # seconds are other seconds, and the rows' key still keeps each from counting twice.
            stored = None
        if stored is None:
            return replace(request, create=True)
        state = stored.state
        if (state.key, state.user_id) != (request.key, request.user_id):
            return OpenStatus.FOREIGN
        if state.end_reason is not None and state.end_reason != EndReason.LOST:
            return OpenStatus.ENDED
        await self._ledger.restore_session(stored)
        return request

    async def _seed(self, request: OpenRequest, now: float) -> None:
        async with self._seeding:
            figures = await self._storage.load_account(
                request.key.organization_id, request.user_id, around(int(now))
            )
            await self._ledger.seed_account(figures)

    async def _restore(self, session: RecorderSession) -> None:
        """Put a session back that the ledger lost, and claim it."""
        assert session.state is not None
        async with self._seeding:
            stored = await self._storage.load_session(session.key.session_id)
            if stored is None:  # not even its row was durable yet
                stored = StoredSession(replace(session.state, revision=0), ())
            metadata = session.request.metadata if session.request else ""
            await self._ledger.restore_session(stored, metadata)
        await self._reopen(session)

    async def _reopen(self, session: RecorderSession) -> None:
        assert session.request is not None
        answer = await self._ledger.open(session.request)
        if answer.status is OpenStatus.ACCOUNT_COLD:
            await self._seed(session.request, answer.server_time)
            await self._ledger.open(session.request)


def _delays() -> Iterator[float]:
    delay = RETRY_SECONDS
    while True:
        yield delay
        delay = min(delay * 2, 5.0)
