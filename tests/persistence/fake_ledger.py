"""A ledger in memory, for the flusher: what is due, who has the leases, what was set aside."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from meter.ledger.keys import partition_of
from meter.ledger.types import (
    Backlog,
    Collected,
    CollectStatus,
    DueSession,
    LedgerUnavailable,
    Minute,
    SessionKey,
    Settlement,
)


@dataclass
class FakeLedger:
    """Implements `FlushLedger`. `away` makes every call fail; `away_for` only the named ones."""

    away: bool = False
    away_for: set[str] = field(default_factory=set)
    due: dict[SessionKey, DueSession] = field(default_factory=dict)
    aside: dict[SessionKey, str] = field(default_factory=dict)
    leases: dict[int, str] = field(default_factory=dict)
    flushers: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def add(self, *sessions: DueSession) -> None:
        """Make sessions due; their minutes are merged with those that are."""
        for session in sessions:
            key = session.state.key
            masks: dict[int, int] = {}
            old = self.due[key].minutes if key in self.due else ()
            for minute in (*old, *session.minutes):
                masks[minute.minute] = masks.get(minute.minute, 0) | minute.mask
            minutes = tuple(Minute(number, mask) for number, mask in sorted(masks.items()))
            self.due[key] = replace(session, minutes=minutes)

    async def collect(
        self,
        partitions: Sequence[int],
        flusher_id: str,
        lease_seconds: float,
        limit: int,
        own_time: int | None = None,
    ) -> list[Collected]:
        """What is due, by partition."""
        self._called("collect")
        answers = []
        for partition in partitions:
            if self.leases.setdefault(partition, flusher_id) != flusher_id:
                answers.append(Collected(CollectStatus.LEASED))
                continue
            due = [
                session
                for key, session in self.due.items()
                if partition_of(key.organization_id) == partition and key not in self.aside
            ]
            answers.append(Collected(CollectStatus.MINE, tuple(due[:limit]), len(due) >= limit))
        return answers

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Drop what was committed, and only that."""
        self._called("settle")
        for settlement in settlements:
            session = self.due.get(settlement.key)
            if session is None:
                continue
            written = {minute.minute: minute.mask for minute in settlement.minutes}
            left = tuple(
                minute for minute in session.minutes if minute.mask & ~written.get(minute.minute, 0)
            )
            row_due = session.row_due and session.state.revision != settlement.revision
            if left or row_due:
                self.due[settlement.key] = replace(session, minutes=left, row_due=row_due)
            else:
                del self.due[settlement.key]

    async def set_aside(self, key: SessionKey, error: str) -> None:
        """Keep a session for later."""
        self._called("set_aside")
        self.aside[key] = error

    async def backlog(self) -> Backlog:
        """What is due."""
        self._called("backlog")
        return Backlog(len(self.due), None, len(self.aside), 0)

    async def muster(self, flusher_id: str, lease_seconds: float) -> list[str]:
        """Who is at work; nobody's time runs out."""
        self._called("muster")
        self.flushers.add(flusher_id)
        if lease_seconds == 0:
            self.flushers.discard(flusher_id)
        return sorted(self.flushers)

    async def release(self, partitions: Sequence[int], flusher_id: str) -> None:
        """Forget this flusher's leases."""
        self._called("release")
        for partition in partitions:
            if self.leases.get(partition) == flusher_id:
                del self.leases[partition]

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.away or name in self.away_for:
            raise LedgerUnavailable("the fake ledger is away")
