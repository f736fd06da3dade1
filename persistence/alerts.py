"""Notes crossed thresholds in `usage_alerts`."""

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from meter.alerts import AlertBook
from meter.ledger.types import Look, LookItem, Standing
from meter.thresholds import Alert
from persistence.database import Connection, Database
from persistence.errors import RowsRefused
from persistence.statements import statement

logger = logging.getLogger(__name__)


async def note_alerts(connection: Connection, alerts: Sequence[Alert]) -> None:
    """Make a row of each that has none yet."""
    await connection.execute(
        statement("note_alerts"),
        [each.organization_id for each in alerts],
        [each.user_id for each in alerts],
        [each.period.start for each in alerts],
        [each.period.end for each in alerts],
        [each.threshold.kind.value for each in alerts],
        [each.threshold.value for each in alerts],
        [each.used_seconds for each in alerts],
        [each.limit_seconds for each in alerts],
    )


class LookingLedger(Protocol):
    """What is needed of the ledger."""

    async def look(self, items: Sequence[LookItem]) -> list[Look]:
        """Organizations as they are now. Raises `LedgerUnavailable`."""


class AlertNoter:
    """Notes what accounts have passed whose seconds become durable: before the ledger lets go of
    them, so that no crossing is missed, whoever dies in between. (Gateways note most of them
    earlier, with the second that crosses.)"""

    def __init__(self, ledger: LookingLedger, database: Database) -> None:
        self._ledger = ledger
        self._database = database
        self._book = AlertBook()

    async def note(self, accounts: Iterable[tuple[str, str]]) -> int:
        """Look at accounts (organization, user) and note what is new; how many crossings.

        Raises `LedgerUnavailable` or `StorageUnavailable`; then they are to be noted again. What
        Postgres refuses is logged, and holds nobody up."""
        alerts = await self._new(accounts)
        if not alerts:
            return 0
        try:
            async with self._database.connection() as connection:
                await note_alerts(connection, alerts)
        except RowsRefused as error:
            logger.error("Postgres refused %d alerts: %s", len(alerts), error)
        except BaseException:
            self._book.forget(alerts)
            raise
        return len(alerts)

    async def _new(self, accounts: Iterable[tuple[str, str]]) -> list[Alert]:
        users: dict[str, dict[str, None]] = {}
        for organization_id, user_id in accounts:
            users.setdefault(organization_id, {})[user_id] = None
        items = [LookItem(organization_id, tuple(each)) for organization_id, each in users.items()]
        return [
            alert
            for item, look in zip(items, await self._ledger.look(items), strict=True)
            for user_id, standing in zip(item.user_ids, look.standings, strict=True)
            if isinstance(standing, Standing)  # of a cold account nothing is live
            for alert in self._book.notice(item.organization_id, user_id, standing)
        ]
