"""Reports overage minutes to Stripe, each of them once.

What is owed is a level: it follows from the rows. What was reported is a chain of ranges of an
account's minutes in a period (`stripe_meter_events`), each committed before it is sent, and known
to Stripe by an identifier that is the range's own. So a range may be sent again, and is counted
once.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

import asyncpg

from meter.ledger.types import StorageUnavailable
from meter.payments import NotTaken, OverageReport, pause_seconds
from persistence.database import Connection, Database
from persistence.errors import RowsRefused
from persistence.metrics import FlusherMetrics
from persistence.statements import statement

logger = logging.getLogger(__name__)

BATCH_ACCOUNTS = 200
# Requests at once: one a customer and meter, and never many.
BATCH_REPORTS = 8
# Where something waits, it is looked after at least this often.
LOOK_SECONDS = 30.0


class ReportSender(Protocol):
    """What reporting needs of the provider."""

    async def send(self, report: OverageReport) -> NotTaken | None:
        """Report minutes; None when the provider has them."""


class OverageReporter:
    """Plans and sends reports. Of several one does, at a time; one that dies is followed by
    another, which sends again what is in doubt."""

    def __init__(
        self,
        sender: ReportSender,
        database: Database,
        interval_seconds: float,
        metrics: FlusherMetrics | None = None,
    ) -> None:
        self._sender = sender
        self._database = database
        self._interval_seconds = interval_seconds
        self._metrics = metrics or FlusherMetrics()
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Report until `stop` is set; what is on its way then is in doubt, and is sent again."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                turn = asyncio.create_task(self._turn())
                await asyncio.wait((turn, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    turn.cancel()
                    with suppress(asyncio.CancelledError):
                        await turn
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), turn.result())
        finally:
            stopped.cancel()

    async def report(self) -> float:
        """Plan what is owed, and send what is due; seconds until there may be more to do.

        Raises `StorageUnavailable`.
        """
        async with self._database.connection() as connection:
            if not await connection.fetchval(statement("lock_stripe_reports")):
                return min(self._interval_seconds, LOOK_SECONDS)
            try:
                await _page(connection, "note_stripe_periods")
                await _page(connection, "plan_stripe_meter_events")
                await self._give_up(connection)
                pause = await self._send_due(connection)
                return max(pause, await self._until_due(connection))
            finally:
                await connection.execute(statement("unlock_stripe_reports"))

    async def _give_up(self, connection: Connection) -> None:
        for row in await connection.fetch(statement("give_up_stripe_meter_events")):
            logger.error("overage %s is %s: look for it", row["identifier"], row["status"])

    async def _send_due(self, connection: Connection) -> float:
        """Send until nothing is due, or the provider is in trouble; seconds to leave it alone."""
        while rows := await connection.fetch(statement("claim_stripe_meter_events"), BATCH_REPORTS):
            answers = await asyncio.gather(*(self._sender.send(_report(row)) for row in rows))
            pause = 0.0
            for row, answer in zip(rows, answers, strict=True):
                wait = await self._note(connection, row, answer)
                if answer is not None and answer.general:
                    pause = max(pause, wait)
            if pause:
                return pause
        return 0.0

    async def _note(
        self, connection: Connection, row: asyncpg.Record, answer: NotTaken | None
    ) -> float:
        """Note what became of a report; seconds until it is tried again."""
        name = statement("note_stripe_meter_event")
        if answer is None:
            await connection.execute(name, row["id"], True, False, None, 0.0)
            self._metrics.overage_reported.inc(row["minutes"])
            return 0.0
        wait = pause_seconds(row["attempts"], answer.retry_after_seconds)
        in_doubt = answer.in_doubt or row["was_in_doubt"]
        await connection.execute(name, row["id"], False, in_doubt, answer.reason, wait)
        self._metrics.failures.labels("stripe").inc()
        logger.warning(
            "overage %s waits (attempt %d): %s", row["identifier"], row["attempts"], answer.reason
        )
        return wait

    async def _until_due(self, connection: Connection) -> float:
        row = await connection.fetchrow(statement("count_stripe_meter_events"))
        assert row is not None  # an aggregate
        self._metrics.overage_waiting.set(row["waiting"])
        self._metrics.overage_unsettled.set(row["unsettled"])
        if row["due_in_seconds"] is None:
            return self._interval_seconds
        due = max(float(row["due_in_seconds"]), 0.5)
        return min(due, self._interval_seconds, LOOK_SECONDS)

    async def _turn(self) -> float:
        """One look; seconds until the next."""
        try:
            pause = await self.report()
        except (StorageUnavailable, RowsRefused) as error:
            self._failures += 1
            logger.warning("overage waits (failure %d): %s", self._failures, error)
            return min(pause_seconds(self._failures), LOOK_SECONDS)
        self._failures = 0
        return pause


def _report(row: asyncpg.Record) -> OverageReport:
    return OverageReport(
        row["identifier"],
        row["stripe_customer_id"],
        row["event_name"],
        row["minutes"],
        row["occurred_at"],
    )


async def _page(connection: Connection, name: str) -> None:
    """A statement over all accounts, some at a time."""
    last, more = "", True
    while more:
        rows = await connection.fetch(statement(name), last, BATCH_ACCOUNTS)
        more = len(rows) == BATCH_ACCOUNTS
        last = rows[-1][0] if more else last
