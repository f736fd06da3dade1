"""Tells the ledger of every change of a limit in Postgres."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from meter.ledger.types import AccountLimits, LedgerUnavailable, StorageUnavailable
from persistence.auditor import Auditor
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.metrics import FlusherMetrics
from persistence.periods import PeriodsKeeper
from persistence.statements import statement
from persistence.untold import load_untold

logger = logging.getLogger(__name__)

# A session looks at its account about once a second, and is to know a new limit within two.
INTERVAL_SECONDS = 0.2
BACKOFF_MOST_SECONDS = 5.0
BATCH_ORGANIZATIONS = 100


class LimitsLedger(Protocol):
    """What telling needs of the ledger."""

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
        """Give known organizations their present limits. Raises `LedgerUnavailable`."""


class LimitsTeller:
    """Tells the ledger of changed limits. Several at once, or one that dies and starts anew, only
    tell some again; the ledger never takes older limits for newer ones."""

    def __init__(
        self,
        ledger: LimitsLedger,
        database: Database,
        metrics: FlusherMetrics | None = None,
        keeper: PeriodsKeeper | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self._ledger = ledger
        self._database = database
        self._metrics = metrics or FlusherMetrics()
        self._keeper = keeper or PeriodsKeeper(database)
        self._auditor = auditor
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look for changes until `stop` is set."""
        while not stop.is_set():
            pause_seconds = await self._turn()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_seconds)

    async def tell(self) -> int:
        """Tell what has changed and wasn't told; how many organizations, up to a batch.

        Raises `LedgerUnavailable` or `StorageUnavailable`; then it is told again.
        """
        async with self._database.connection() as connection:
            limits, cycles = await load_untold(connection, BATCH_ORGANIZATIONS)
        if not limits:
            return 0
        await self._ledger.set_limits(limits)
        # The ledger has them: only now is it noted, and only of the versions that were read.
        async with self._database.connection() as connection:
            await connection.execute(
                statement("note_limits_told"),
                [each.organization_id for each in limits],
                [each.version for each in limits],
            )
        self._metrics.limits_told.inc(len(limits))
        self._keeper.ask(cycles)
        if self._auditor is not None:  # minutes may have come, too, and not through the ledger
            self._auditor.ask([each.organization_id for each in limits])
        return len(limits)

    async def _turn(self) -> float:
        """One look; seconds until the next."""
        try:
            told = await self.tell()
        except (LedgerUnavailable, StorageUnavailable, RowsRefused) as error:
            self._failures += 1
            if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, …
                logger.warning("limits wait (failure %d): %s", self._failures, error)
            return min(INTERVAL_SECONDS * float(2 ** min(self._failures, 10)), BACKOFF_MOST_SECONDS)
        self._failures = 0
        return 0.0 if told == BATCH_ORGANIZATIONS else INTERVAL_SECONDS
