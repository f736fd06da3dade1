"""Tells the ledger what an operator has just changed, before the change is answered.

Level-triggered, as the flusher's teller is, which does it in any case: what isn't told by the time
is told all of what holds now. So it may fail here, and nothing is lost but some tenths of a second.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Protocol

from gateway.http.books import Store
from meter.books import Refused
from meter.ledger.types import AccountLimits, LedgerUnavailable, StorageUnavailable

logger = logging.getLogger(__name__)

# An answer doesn't wait longer for a ledger that is slow.
TELL_SECONDS = 1.0


class TellingLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None: ...


class Teller:
    """Gives the ledger limits and adjustments as they are committed."""

    def __init__(self, ledger: TellingLedger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def tell(self, organization_ids: Collection[str]) -> None:
        """What these organizations have now, if the ledger wasn't told. Where Redis or Postgres is
        away, or slow, that is left to the flusher."""
        try:
            async with asyncio.timeout(TELL_SECONDS):
                async with self._store.reading() as books:
                    limits = await books.untold_limits(organization_ids)
                if limits:
                    await self._ledger.set_limits(limits)
        except (LedgerUnavailable, StorageUnavailable, Refused, TimeoutError) as error:
            logger.warning("the ledger is told of a change later: %r", error)

    async def tell_these(self, limits: Sequence[AccountLimits]) -> None:
        """What was read from the books. Raises `LedgerUnavailable`."""
        if limits:
            await self._ledger.set_limits(limits)
