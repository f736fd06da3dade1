"""Keeps the ledger's server functions: the newest of this version, and none that nobody uses."""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from meter.ledger.types import LedgerUnavailable

logger = logging.getLogger(__name__)

# Not longer: where an older process was the first after a loss, its revision serves until then.
INTERVAL_SECONDS = 60.0


class FunctionsLedger(Protocol):
    """What keeping needs of the ledger."""

    async def tend_library(self) -> None:
        """Load the functions where they are older, and delete versions of long ago. Raises
        `LedgerUnavailable`."""


class FunctionsKeeper:
    """Several at once, of different releases too, are no trouble to each other."""

    def __init__(self, ledger: FunctionsLedger, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._ledger = ledger
        self._interval_seconds = interval_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Look after them now and then until `stop` is set."""
        while not stop.is_set():
            try:
                await self._ledger.tend_library()
            except LedgerUnavailable as error:
                logger.debug("the ledger's functions can't be looked after now: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._interval_seconds)
