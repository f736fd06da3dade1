"""The part of an audit that costs little, now and then and for ever: the ledger's figures against
those that Postgres keeps."""

import asyncio
import logging
from contextlib import suppress

from meter.ledger.auditing import AuditedLedger, LedgerAudit
from meter.ledger.types import LedgerUnavailable, StorageUnavailable
from persistence.audit import audit_ledger
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.metrics import FlusherMetrics

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
ACCOUNTS_A_TURN = 200


class Auditor:
    """Goes round the accounts that the ledger knows. It repairs nothing: whoever reads the log or
    `meter_flusher_drift_seconds` runs `meter audit`."""

    def __init__(self, ledger: AuditedLedger, database: Database, metrics: FlusherMetrics) -> None:
        self._ledger = LedgerAudit(ledger)
        self._database = database
        self._metrics = metrics
        self._waiting: list[str] = []
        self._drift: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Look at some accounts, and again, until `stop` is set."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), INTERVAL_SECONDS)
                return
            try:
                await self.look()
            except (LedgerUnavailable, StorageUnavailable, RowsRefused) as error:
                logger.warning("the audit waits: %s", error)

    async def look(self) -> int:
        """Compare the next accounts; the drift of all that were compared last, in seconds.

        Raises `LedgerUnavailable` and `StorageUnavailable`."""
        if not self._waiting:
            self._waiting = await self._ledger.organizations()
            self._drift = {name: self._drift.get(name, 0) for name in self._waiting}
        now, self._waiting = self._waiting[:ACCOUNTS_A_TURN], self._waiting[ACCOUNTS_A_TURN:]
        drifts = await audit_ledger(self._database, self._ledger, now, by_rows=False)
        self._drift.update(dict.fromkeys(now, 0))
        for drift in drifts:
            self._drift[drift.organization_id] += abs(drift.seconds)
            logger.error(
                "the ledger's figure of %r is off by %+d s: it says %d, Postgres %d",
                drift.organization_id,
                drift.seconds,
                drift.kept,
                drift.counted,
            )
        total = sum(self._drift.values())
        self._metrics.drift.set(total)
        return total
