"""Moves what is due from the ledger to Postgres. All state is in the ledger: a flusher may die at
any point and be started anew, or run twice, and only repeats work.
"""

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from meter.ledger.keys import PARTITIONS
from meter.ledger.types import (
    Backlog,
    Collected,
    CollectStatus,
    DueSession,
    LedgerUnavailable,
    SessionKey,
    Settlement,
    StorageUnavailable,
)
from persistence.alerts import AlertNoter
from persistence.errors import RowsRefused
from persistence.metrics import FlusherMetrics
from persistence.writer import Writer, batches

logger = logging.getLogger(__name__)

ALL_PARTITIONS = tuple(range(PARTITIONS))
BACKOFF_FIRST_SECONDS = 0.25
BACKOFF_MOST_SECONDS = 5.0
BACKLOG_EVERY_SECONDS = 10.0
PARTITIONS_EVERY_SECONDS = 3600.0


class FlushLedger(Protocol):
    """What a flusher needs of the ledger. Every call raises `LedgerUnavailable`."""

    async def collect(
        self,
        partitions: Sequence[int],
        flusher_id: str,
        lease_seconds: float,
        limit: int,
        own_time: int | None = None,
    ) -> list[Collected]:
        """What is due in each partition, where this flusher has the lease or can take it."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Let go of what was committed."""

    async def set_aside(self, key: SessionKey, error: str) -> None:
        """Keep a refused session for later."""

    async def backlog(self) -> Backlog:
        """What isn't durable yet."""

    async def muster(self, flusher_id: str, lease_seconds: float) -> list[str]:
        """Say that a flusher is at work for so long (0: no longer); all who are, in order."""

    async def release(self, partitions: Sequence[int], flusher_id: str) -> None:
        """Give leases back."""


@dataclass(frozen=True, slots=True)
class FlushOptions:
    """How a flusher goes about it; the settings explain each."""

    interval_seconds: float = 1.0
    lease_seconds: float = 10.0
    batch_rows: int = 5_000
    sessions: int = 100
    stop_seconds: float = 10.0


class Flusher:
    """One flusher. `flusher_id` names it in its leases."""

    def __init__(
        self,
        ledger: FlushLedger,
        writer: Writer,
        options: FlushOptions | None = None,
        metrics: FlusherMetrics | None = None,
        alerts: AlertNoter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.flusher_id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._ledger = ledger
        self._writer = writer
        self._alerts = alerts
        self._clock = clock
        self._options = options or FlushOptions()
        self._metrics = metrics or FlusherMetrics()
        self._failures = 0
        self._held: Sequence[int] = ()
        self._backlog_at = 0.0
        self._partitions_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Flush until `stop` is set, then once more, and give the leases back."""
        logger.info("flusher %s starts", self.flusher_id)
        while not stop.is_set():
            pause_seconds = await self._turn()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_seconds)
        await self._finish()
        logger.info("flusher %s has stopped", self.flusher_id)

    async def flush(self) -> bool:
        """Make durable what is due now, up to the limit; whether more is waiting.

        Raises `LedgerUnavailable` or `StorageUnavailable`; what was settled until then stays so.
        """
        collected = await self._ledger.collect(
            await self._share(),
            self.flusher_id,
            self._options.lease_seconds,
            self._options.sessions,
            int(self._clock()),
        )
        mine = [answer for answer in collected if answer.status is CollectStatus.MINE]
        due = [session for answer in mine for session in answer.due]
        for batch in batches(due, self._options.batch_rows):
            await self._flush_batch(batch)
        return any(answer.more for answer in mine)

    async def _share(self) -> Sequence[int]:
        """This flusher's partitions: all are dealt out among the flushers at work. Leases keep one
        from taking what another hasn't given back yet."""
        flushers = await self._ledger.muster(self.flusher_id, self._options.lease_seconds)
        share = ALL_PARTITIONS[flushers.index(self.flusher_id) :: len(flushers)]
        if given_back := set(self._held) - set(share):
            await self._ledger.release(sorted(given_back), self.flusher_id)
        self._held = share
        return share

    async def _flush_batch(self, batch: Sequence[DueSession]) -> None:
        with self._metrics.batch_seconds.time():
            outcome = await self._writer.write(batch)
        # Committed: only now may the ledger let go of it.
        if outcome.settlements:
            await self._note_alerts(batch)
            await self._ledger.settle(outcome.settlements)
        self._metrics.rows.inc(outcome.rows)
        self._metrics.sessions.inc(len(outcome.settlements))
        for refusal in outcome.refusals:
            logger.error(
                "Postgres refused session %s, which is set aside: %s",
                refusal.key.session_id,
                refusal.error,
            )
            await self._ledger.set_aside(refusal.key, refusal.error)
            self._metrics.set_aside.inc()
        logger.debug("flushed %d rows of %d sessions", outcome.rows, len(outcome.settlements))

    async def _note_alerts(self, batch: Sequence[DueSession]) -> None:
        if self._alerts is not None:
            await self._alerts.note(
                [(each.state.key.organization_id, each.state.user_id) for each in batch]
            )

    async def _turn(self) -> float:
        """One look for what is due; seconds until the next."""
        began = time.monotonic()
        try:
            if self._failures:
                await self._writer.check()  # before the ledger is asked for work in vain
            more = await self.flush()
            await self._look_after(began)
        except (LedgerUnavailable, StorageUnavailable) as error:
            return self._failed(error)
        if self._failures:
            logger.info("flushing again after %d failures", self._failures)
        self._failures = 0
        self._metrics.last_success.set_to_current_time()
        if more:
            return 0.0
        return max(began + self._options.interval_seconds - time.monotonic(), 0.0)

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        store = "ledger" if isinstance(error, LedgerUnavailable) else "postgres"
        self._metrics.failures.labels(store).inc()
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, …: an outage may last
            logger.warning("%s is away (failure %d): %s", store, self._failures, error)
        most = min(BACKOFF_FIRST_SECONDS * 2 ** min(self._failures, 10), BACKOFF_MOST_SECONDS)
        return random.uniform(most / 2, most)

    async def _look_after(self, now: float) -> None:
        """What is to be done now and then: backlog figures, the months' partitions."""
        if now >= self._backlog_at:
            self._backlog_at = now + BACKLOG_EVERY_SECONDS
            self._metrics.show(await self._ledger.backlog())
        if now >= self._partitions_at:
            self._partitions_at = now + PARTITIONS_EVERY_SECONDS
            try:
                made = await self._writer.make_partitions_ahead()
            except (StorageUnavailable, RowsRefused) as error:
                # There are some months left to find out why.
                logger.error("partitions cannot be made ahead: %s", error)
            else:
                logger.log(logging.INFO if made else logging.DEBUG, "made %d partitions", made)

    async def _finish(self) -> None:
        """A last flush of all that is due, and the leases back."""
        try:
            async with asyncio.timeout(self._options.stop_seconds):
                while await self.flush():
                    pass
        except (LedgerUnavailable, StorageUnavailable, TimeoutError) as error:
            logger.warning("stopping with work left, which stays in the ledger: %s", error)
        with suppress(LedgerUnavailable):
            await self._ledger.release(ALL_PARTITIONS, self.flusher_id)
            await self._ledger.muster(self.flusher_id, 0)
