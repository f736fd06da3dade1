"""Notes crossed thresholds while they are news."""

import logging
from typing import Protocol

from meter.alerts import AlertBook
from meter.ledger.types import Standing, StorageUnavailable
from meter.thresholds import Alert

logger = logging.getLogger(__name__)


class AlertStorage(Protocol):
    """What is needed of `meter.ledger.types.Storage`."""

    async def note_alerts(self, alerts: list[Alert]) -> None: ...


class Alerter:
    """One a gateway. What it can't note is left to the flusher, which notes all crossings before
    their seconds are settled."""

    def __init__(self, storage: AlertStorage) -> None:
        self._storage = storage
        self._book = AlertBook()
        self._new: list[Alert] = []

    def notice(self, organization_id: str, user_id: str, standing: Standing) -> bool:
        """An account's standing, as a count gave it; whether there is something to `note`."""
        found = self._book.notice(organization_id, user_id, standing)
        self._new += found
        return bool(found)

    async def note(self) -> None:
        """Make rows of what was noticed."""
        alerts, self._new = self._new, []
        if not alerts:
            return
        try:
            await self._storage.note_alerts(alerts)
        except StorageUnavailable as error:
            logger.warning("%d alerts wait for the flusher: %s", len(alerts), error)
