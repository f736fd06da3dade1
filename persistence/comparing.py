"""Brings the ledger's figures of one account up to Postgres', for who is about to rely on them.

Minutes that came by SQL are in Postgres at once, and in the ledger when a flusher's auditor has
looked: until then there seems to be room that isn't.
"""

import asyncio

from meter.ledger.auditing import AuditedLedger, LedgerAudit
from meter.ledger.types import StorageUnavailable
from persistence.database import Database
from persistence.ledger_audit import repair_ledger

# Shorter than the transaction may be idle in which somebody waits for this.
MOST_SECONDS = 4.0
# While another compares: a flusher's auditor, or another gateway.
PAUSE_SECONDS = 0.1


class Comparing:
    """Compares one account at a time. Made at once; connects when first used."""

    def __init__(self, database_url: str, timeout_seconds: float) -> None:
        self._database = Database(
            database_url,
            name="minute-meter comparing",
            max_connections=2,  # what a repair takes
            timeout_seconds=timeout_seconds,
        )
        self._turn = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()

    async def catch_up(self, ledger: AuditedLedger, organization_id: str) -> None:
        """Return when the account's figures were found to be right, put right where they were not.

        Raises `LedgerUnavailable`, and `StorageUnavailable` also where it takes too long."""
        try:
            async with asyncio.timeout(MOST_SECONDS), self._turn:
                await self._repair(LedgerAudit(ledger), organization_id)
        except TimeoutError:
            raise StorageUnavailable("the account's figures are still being compared") from None

    async def _repair(self, ledger: LedgerAudit, organization_id: str) -> None:
        while True:
            found = await repair_ledger(self._database, ledger, [organization_id], by_rows=False)
            if found is None:
                await asyncio.sleep(PAUSE_SECONDS)
            elif not found.drifts and not found.unsettled:
                return
