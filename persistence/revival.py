"""Sessions that Postgres has as live, and that the ledger lost with nobody to bring them back:
their recorder is gone, and nobody else of their organization came.

They are put back into the ledger as they are in Postgres, which changes nothing where it knows them
after all. There they end as any other session does that nobody speaks for: as lost, after a while,
and until then and for a while after that a recorder can go on with them.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol
from uuid import UUID

from meter.ledger.types import (
    LedgerUnavailable,
    SessionKey,
    SessionState,
    StorageUnavailable,
    StoredSession,
)
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.statements import statement
from persistence.storage import load_sessions

logger = logging.getLogger(__name__)

ROUND_SECONDS = 60.0
TURN_SECONDS = 0.5
SESSIONS_A_TURN = 200
# Beyond the time after which a silent session is lost. Who still speaks for it brings it back
# earlier; should they be slow, this is no harm.
MARGIN_SECONDS = 60

Place = tuple[str, UUID]
START: Place = ("", UUID(int=0))


class RevivedLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`. All raise `LedgerUnavailable`."""

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]: ...

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool: ...


class Reviver:
    """Goes round the sessions that Postgres has as live. Several at once do no harm."""

    def __init__(self, ledger: RevivedLedger, database: Database, quiet_seconds: int) -> None:
        """`quiet_seconds`: how long nothing was written of a session that is looked at."""
        self._ledger = ledger
        self._database = database
        self._quiet_seconds = quiet_seconds
        self._place = START

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        while not stop.is_set():
            pause_seconds = ROUND_SECONDS
            try:
                await self.look()
                if self._place != START:
                    pause_seconds = TURN_SECONDS
            except (LedgerUnavailable, StorageUnavailable, RowsRefused) as error:
                logger.warning("sessions that the ledger lost wait: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_seconds)

    async def look(self, most: int = SESSIONS_A_TURN) -> int:
        """Look at the next ones; how many were put back.

        Raises `LedgerUnavailable` and `StorageUnavailable`; then they still are the next."""
        async with self._database.connection() as connection:
            quiet = await connection.fetch(
                statement("list_quiet_sessions"), *self._place, self._quiet_seconds, most
            )
        keys = [SessionKey(row["organization_id"], str(row["session_id"])) for row in quiet]
        known = await self._ledger.recall(keys)
        unknown = [key for key, state in zip(keys, known, strict=True) if state is None]
        revived = await self._revive(unknown) if unknown else 0
        last = quiet[-1] if len(quiet) == most else None
        self._place = START if last is None else (last["organization_id"], last["session_id"])
        return revived

    async def _revive(self, keys: Sequence[SessionKey]) -> int:
        async with self._database.connection() as connection:
            found = await load_sessions(connection, [UUID(key.session_id) for key in keys])
        revived = [
            await self._ledger.restore_session(stored)
            for stored in found
            if stored.state.ended_at is None
        ]
        if any(revived):
            logger.warning(
                "%d sessions that the ledger had lost are back in it, to end there", sum(revived)
            )
        return sum(revived)
