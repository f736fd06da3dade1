"""Postgres in memory: what the gateway reads of it, and what a flusher would have written."""

from collections.abc import Sequence
from dataclasses import replace

from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    Minute,
    SessionState,
    StorageUnavailable,
    StoredSession,
)
from meter.periods import Period, around
from meter.seconds import minute_masks
from meter.thresholds import Alert


class MemoryStorage:
    """Sets of seconds by session. While `down`, nothing can be asked."""

    def __init__(self) -> None:
        self.down = False
        self.limits: dict[str, int] = {}
        self.loads: list[str] = []
        self.alerts: list[Alert] = []
        self._states: dict[str, SessionState] = {}
        self._seconds: dict[str, set[int]] = {}

    def write(self, state: SessionState, seconds: set[int]) -> None:
        """A flusher's upsert: the newer row, and the union of the seconds."""
        session_id = state.key.session_id
        old = self._states.get(session_id)
        if old is None or state.revision >= old.revision:
            self._states[session_id] = state
        self._seconds.setdefault(session_id, set()).update(seconds)

    def seconds(self, session_id: str) -> set[int]:
        """What is written of a session."""
        return self._seconds.get(session_id, set())

    async def load_session(self, session_id: str) -> StoredSession | None:
        """As `Storage` says."""
        self._check("session")
        return self._stored(session_id) if session_id in self._states else None

    async def load_account(
        self,
        organization_id: str,
        user_id: str,
        at_second: int,
        *,
        with_live: bool = True,
    ) -> AccountFigures:
        """As `Storage` says."""
        self._check("account")
        periods = around(at_second)
        mine = [
            state for state in self._states.values() if state.key.organization_id == organization_id
        ]
        return AccountFigures(
            organization_id=organization_id,
            user_id=user_id,
            periods=periods,
            organization_used=tuple(self._used(mine, period) for period in periods),
            member_used=tuple(
                self._used([state for state in mine if state.user_id == user_id], period)
                for period in periods
            ),
            organization_limit=self.limits.get(organization_id, UNLIMITED),
            live=tuple(
                self._stored(state.key.session_id) for state in mine if state.ended_at is None
            )
            if with_live
            else None,
        )

    async def note_alerts(self, alerts: list[Alert]) -> None:
        """As `Storage` says."""
        self._check("alerts")
        self.alerts += alerts

    async def ping(self) -> None:
        """As `Storage` says."""
        self._check("ping")

    def _check(self, what: str) -> None:
        self.loads.append(what)
        if self.down:
            raise StorageUnavailable("the test took it down")

    def _used(self, states: Sequence[SessionState], period: Period) -> int:
        return sum(
            state.origin + second in period
            for state in states
            for second in self._seconds[state.key.session_id]
        )

    def _stored(self, session_id: str) -> StoredSession:
        state, seconds = self._states[session_id], self._seconds[session_id]
        highest = max(seconds, default=-1)
        return StoredSession(
            replace(state, seconds=len(seconds), highest=highest, durable_through=highest),
            tuple(
                Minute(minute, mask)
                for minute, mask in sorted(minute_masks(state.origin, seconds).items())
            ),
        )
