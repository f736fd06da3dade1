"""Postgres for a simulation, and what flushers and gateways have of it: it may be slow or away, and
a commit may not be heard.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from meter.ledger.types import (
    AccountFigures,
    DueSession,
    SessionKey,
    Settlement,
    StorageUnavailable,
    StoredSession,
)
from meter.periods import around
from meter.thresholds import Alert
from persistence.database import Database
from persistence.writer import Outcome, Writer
from tests.gateway.virtual_time import VirtualClock
from tests.ledger.postgres import Postgres

Result = TypeVar("Result")


class Rows(Postgres):
    """A Postgres. `slowness` is how long a commit may take."""

    def __init__(self, clock: VirtualClock, random: Random) -> None:
        super().__init__()
        self.away = False
        self.slowness = 0.0
        self.clock = clock
        self.random = random
        self.billed: dict[SessionKey, set[int]] = {}  # as epoch seconds

    def write(self, due: Sequence[DueSession]) -> None:
        """A transaction."""
        for each in due:
            self.commit(each, each.minutes)
            self.billed[each.state.key] = self.moments(each.state.key)

    def has(self, key: SessionKey) -> set[int]:
        """What it has of a session, as epoch seconds."""
        return self.billed.get(key, set())

    def quiet(self, seconds: int) -> list[StoredSession]:
        """Live sessions of which nothing was written for so long, as `list_quiet_sessions`."""
        before = self.clock.time() - seconds
        return [
            row.stored()
            for key, row in self.rows.items()
            if row.state.ended_at is None
            and row.state.origin < before
            and max(self.has(key), default=0) // 60 * 60 <= before - 60
        ]


class SimulatedWriter(Writer):
    """A flusher's connection to `Rows`."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(Database("postgres://nowhere", name="none", max_connections=1))
        self._rows = rows

    async def write(self, due: Sequence[DueSession]) -> Outcome:
        """As `Writer` says; a commit may not be heard."""
        await asyncio.sleep(self._rows.random.uniform(0.001, 0.02 + self._rows.slowness))
        if self._rows.away and self._rows.random.random() < 0.8:
            raise StorageUnavailable("the simulation took it away")
        self._rows.write(due)
        if self._rows.away or (self._rows.slowness and self._rows.random.random() < 0.2):
            raise StorageUnavailable("the simulation cut the answer off")
        await asyncio.sleep(self._rows.random.uniform(0.001, 0.02 + self._rows.slowness))
        return Outcome(
            tuple(Settlement(each.state.key, each.state.revision, each.minutes) for each in due)
        )


class SimulatedStorage:
    """A gateway's connection to `Rows`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def load_session(self, session_id: str) -> StoredSession | None:
        """As `Storage` says."""
        found = [key for key in self._rows.rows if key.session_id == session_id]
        return await self._asked(lambda: self._rows.load_session(found[0]) if found else None)

    async def load_account(
        self, organization_id: str, user_id: str, at_second: int, *, with_live: bool = True
    ) -> AccountFigures:
        """As `Storage` says."""

        def load() -> AccountFigures:
            figures = self._rows.load_account(organization_id, user_id, around(at_second))
            return figures if with_live else replace(figures, live=None)

        return await self._asked(load)

    async def note_alerts(self, alerts: list[Alert]) -> None:
        """As `Storage` says."""
        await self._asked(lambda: None)

    async def ping(self) -> None:
        """As `Storage` says."""
        await self._asked(lambda: None)

    async def _asked(self, ask: Callable[[], Result]) -> Result:
        await self._pass()
        if self._rows.away:
            raise StorageUnavailable("the simulation took it away")
        answer = ask()
        await self._pass()
        return answer

    def _pass(self) -> Coroutine[Any, Any, None]:
        return asyncio.sleep(self._rows.random.uniform(0.0005, 0.01 + self._rows.slowness / 10))
