"""What operators ask of a gateway: live sessions in pages, and the end of one."""

import asyncio
import logging
from typing import Protocol

from gateway.identity import Identity
from meter.ledger.listing import Census, PageRequest, SessionPage
from meter.ledger.live import LiveSessions, SurveyedLedger
from meter.ledger.types import SessionState, Storage, StoredSession

logger = logging.getLogger(__name__)

# With the other callers below the ledger's connections.
AT_ONCE = 2


class OperatedLedger(SurveyedLedger, Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool: ...


class Operators:
    """One a gateway process. All raise `LedgerUnavailable`."""

    def __init__(self, ledger: OperatedLedger, storage: Storage) -> None:
        self._ledger = ledger
        self._storage = storage
        self._live = LiveSessions(ledger)
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def page(self, request: PageRequest) -> SessionPage:
        """A page of the live sessions."""
        async with self._slots:
            return await self._live.page(request)

    async def census(self) -> Census:
        """How many live sessions the organizations have."""
        async with self._slots:
            return await self._live.census()

    async def stop(self, session_id: str, operator: Identity) -> SessionState | None:
        """End a session, wherever it is connected; None when there is none of this id. One that
        has ended stays as it is. Raises `StorageUnavailable` too, where only Postgres can tell."""
        async with self._slots:
            state = await self._live.stop(session_id)
            if state is None:
                state = await self._stop_stored(session_id)
        if state is not None:
            logger.info(
                "operator %r: session %s of %r is over (%s)",
                operator.user_id,
                session_id,
                state.key.organization_id,
                state.end_reason,
            )
        return state

    async def _stop_stored(self, session_id: str) -> SessionState | None:
        """A session that the ledger let go of long ago, or has lost: then it is put back first, so
        that its end is made durable, and its recorder learns of it."""
        stored = await self._storage.load_session(session_id)
        if stored is None:
            return None
        if stored.state.ended_at is not None:
            return stored.state
        await self._ledger.restore_session(stored)
        return await self._live.stop(session_id)
