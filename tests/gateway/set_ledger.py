"""The ledger as sets in memory, for tests of what is around it: what it was told, and nothing else.

Its rules are few enough to be seen to be right; the real library has tests of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from meter.codes import EndReason
from meter.ledger.calls import Argument
from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    Opened,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
    SessionState,
    Standing,
    StoredSession,
)
from meter.periods import month_of
from tests.gateway.memory_storage import MemoryStorage

Result = TypeVar("Result")

EPOCH = 1_800_000_000.0  # in the middle of a month


@dataclass
class Entry:
    """A session."""

    state: SessionState
    owner: int
    seconds: set[int] = field(default_factory=set)
    durable: set[int] = field(default_factory=set)
    seen: float = 0.0


class SetLedger:
    """One organization's limit for all; `down` refuses, `down_after` does it and then refuses."""

    def __init__(
        self, clock: Callable[[], float] = lambda: EPOCH, rules: Rules | None = None
    ) -> None:
        self.clock = clock
        self.rules = rules or Rules()
        self.limit = UNLIMITED
        self.generation = 0
        self.down = False
        self.down_after = False
        self.poison: str | None = None
        self.entries: dict[str, Entry] = {}
        self.warm: set[str] = set()
        self.told: dict[str, str] = {}
        self.claims: dict[str, tuple[SessionKey, str]] = {}
        self.calls: list[str] = []
        self.batches: list[list[CountItem]] = []

    # What tests do to it ----------------------------------------------------------------------

    def wipe(self) -> None:
        """It comes back empty."""
        self.entries.clear()
        self.warm.clear()

    def fail_over(self, *forgotten: tuple[str, set[int]]) -> None:
        """A replica takes over that lacks these seconds of sessions, and their ends."""
        self.generation += 1
        for session_id, seconds in forgotten:
            entry = self.entries[session_id]
            entry.seconds -= seconds
            entry.state = replace(entry.state, ended_at=None, end_reason=None)

    def flush(self, storage: MemoryStorage) -> None:
        """A flusher writes all that is due."""
        for entry in self.entries.values():
            storage.write(entry.state, entry.seconds)
            entry.durable |= entry.seconds

    def end(self, session_id: str, reason: EndReason) -> None:
        """Ended by somebody else."""
        entry = self.entries[session_id]
        entry.state = replace(
            entry.state,
            ended_at=int(self.clock()),
            end_reason=reason.value,
            revision=entry.state.revision + 1,
        )

    @property
    def used(self) -> int:
        """Seconds counted, of all sessions."""
        return sum(len(entry.seconds) for entry in self.entries.values())

    # What the gateway asks --------------------------------------------------------------------

    async def open(self, request: OpenRequest) -> Opened:
        """As `Ledger` says."""
        return self._reachable("open", lambda: self.open_now(request))

    async def count(self, items: Sequence[CountItem]) -> list[Counted]:
        """As `Ledger` says."""
        self.batches.append(list(items))
        if self.poison is not None and any(i.key.session_id == self.poison for i in items):
            raise RuntimeError("a bug in one session")
        return self._reachable("count", lambda: [self.count_now(item) for item in items])

    async def give_back(self, item: CountItem) -> Counted:
        """As `Ledger` says."""
        self.batches.append([item])
        return self._reachable("give_back", lambda: self.give_back_now(item))

    async def close(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None:
        """As `Ledger` says."""
        return self._reachable("close", lambda: self.close_now(key, reason, at_least))

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]:
        """As `Ledger` says."""
        found = [self.entries.get(key.session_id) for key in keys]
        return self._reachable(
            "recall", lambda: [self._describe(entry) if entry else None for entry in found]
        )

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[Argument]
    ) -> list[Any]:
        """As `Ledger` says; all its sessions are in one partition."""
        assert function == "find"
        return self._reachable("survey", lambda: [[] for _ in partitions])

    async def claim_id(self, key: SessionKey, user_id: str) -> bool:
        """As `Ledger` says."""
        claimant = (key, user_id)
        return self._reachable(
            "claim", lambda: self.claims.setdefault(key.session_id, claimant) == claimant
        )

    async def note_told(self, told: Sequence[tuple[SessionKey, str]]) -> None:
        """As `Ledger` says."""
        texts = {key.session_id: text for key, text in told}
        self._reachable("told", lambda: self.told.update(texts))

    async def seed_account(self, figures: AccountFigures) -> int:
        """As `Ledger` says."""
        return self._reachable("seed", lambda: self._seed(figures))

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool:
        """As `Ledger` says."""
        return self._reachable("restore", lambda: self._restore(stored))

    def _reachable(self, call: str, act: Callable[[], Result]) -> Result:
        self.calls.append(call)
        if self.down:
            raise LedgerUnavailable("the test took it down")
        result = act()
        if self.down_after:
            raise LedgerUnavailable("the test cut the answer off")
        return result

    def open_now(self, request: OpenRequest) -> Opened:
        """`open`, without waiting."""
        now, entry = self.clock(), self.entries.get(request.key.session_id)
        if entry and (entry.state.key, entry.state.user_id) != (request.key, request.user_id):
            return Opened(OpenStatus.FOREIGN, now)
        ended = entry is not None and entry.state.ended_at is not None
        if entry and ended and not self._resumable(entry):
            return Opened(OpenStatus.ENDED, now)
        if request.key.organization_id not in self.warm:
            return Opened(OpenStatus.ACCOUNT_COLD, now)
        if entry is None and not request.create:
            return Opened(OpenStatus.ABSENT, now)
        if (entry is None or ended) and self._room() == 0:
            return Opened(OpenStatus.LIMIT_REACHED, now, None, self._standing())
        status = OpenStatus.CREATED if entry is None else OpenStatus.RESUMED
        if entry is None:
            state = SessionState(request.key, request.user_id, request.kind, int(now), 1)
            entry = self.entries[request.key.session_id] = Entry(state, request.owner)
        entry.state = replace(entry.state, ended_at=None, end_reason=None)
        entry.owner, entry.seen = request.owner, now
        told = self.told.get(request.key.session_id, "")
        return Opened(status, now, self._describe(entry), self._standing(), told)

    def count_now(self, item: CountItem) -> Counted:
        """`count` of one item, without waiting."""
        entry = self._numbered_as(item)
        if entry is None:
            return Counted(CountStatus.ABSENT)
        if entry.state.ended_at is not None:
            return self._counted(entry, CountStatus.ENDED, {})
        return self._count_in(entry, item, self.clock() + self.rules.future_seconds)

    def give_back_now(self, item: CountItem) -> Counted:
        """`give_back`, without waiting."""
        entry = self._numbered_as(item)
        if entry is None:
            return Counted(CountStatus.ABSENT)
        until = self.clock() + self.rules.future_seconds
        ended_at = entry.state.ended_at
        return self._count_in(entry, item, until if ended_at is None else min(until, ended_at))

    def _numbered_as(self, item: CountItem) -> Entry | None:
        entry = self.entries.get(item.key.session_id)
        other = entry is not None and item.origin not in (None, entry.state.origin)
        return None if other else entry

    def _count_in(self, entry: Entry, item: CountItem, until: float) -> Counted:
        if item.key.organization_id not in self.warm:
            return Counted(CountStatus.ACCOUNT_COLD)
        entry.seen = self.clock()
        now_second, latest = (int(moment) - entry.state.origin for moment in (entry.seen, until))
        tally = {"new": 0, "in_future": 0, "too_late": 0, "over_limit": 0, "over_duration": 0}
        for first, last in item.ranges:
            for second in range(first, last + 1):
                what = self._judge(entry, second, now_second, latest)
                if what == "new":
                    entry.seconds.add(second)
                if what:
                    tally[what] += 1
        return self._counted(entry, CountStatus.COUNTED, tally)

    def close_now(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None:
        """`close`, without waiting."""
        entry = self.entries.get(key.session_id)
        if entry is None or len(entry.seconds) < at_least:
            return None
        if entry.state.ended_at is None:
            self.end(key.session_id, reason)
        return self._describe(entry)

    def _judge(self, entry: Entry, second: int, now_second: int, latest: int) -> str:
        if second > latest:
            return "in_future"
        if second < max(0, now_second - self.rules.late_seconds):
            return "too_late"
        if second >= self.rules.max_session_seconds:
            return "over_duration"
        if second in entry.seconds:
            return ""
        return "new" if self._room() else "over_limit"

    def _resumable(self, entry: Entry) -> bool:
        ended_at = entry.state.ended_at or 0
        return (
            entry.state.end_reason == EndReason.LOST
            and self.clock() - ended_at <= self.rules.resume_seconds
        )

    def _room(self) -> int:
        return 10**9 if self.limit == UNLIMITED else max(self.limit - self.used, 0)

    def _standing(self) -> Standing:
        return Standing(month_of(int(self.clock())), self.used, self.limit, self.used, UNLIMITED)

    def _describe(self, entry: Entry) -> SessionState:
        return replace(
            entry.state,
            seconds=len(entry.seconds),
            highest=max(entry.seconds, default=-1),
            durable_through=self._durable_through(entry),
        )

    @staticmethod
    def _durable_through(entry: Entry) -> int:
        dirty = entry.seconds - entry.durable
        return min(dirty) - 1 if dirty else max(entry.seconds, default=-1)

    def _counted(self, entry: Entry, status: CountStatus, tally: dict[str, int]) -> Counted:
        return Counted(
            status,
            **tally,
            seconds=len(entry.seconds),
            highest=max(entry.seconds, default=-1),
            durable_through=self._durable_through(entry),
            owner=entry.owner,
            end_reason=entry.state.end_reason or "",
            standing=self._standing() if status is CountStatus.COUNTED else None,
        )

    def _seed(self, figures: AccountFigures) -> int:
        if figures.organization_id in self.warm or figures.live is None:
            return 0
        self.warm.add(figures.organization_id)
        return sum(self._restore(stored) for stored in figures.live)

    def _restore(self, stored: StoredSession) -> bool:
        state = stored.state
        if state.key.session_id in self.entries:
            return False
        seconds = {
            minute.minute * 60 + bit - state.origin
            for minute in stored.minutes
            for bit in range(60)
            if minute.mask >> bit & 1
        }
        self.entries[state.key.session_id] = Entry(state, 0, seconds, set(seconds))
        return True
