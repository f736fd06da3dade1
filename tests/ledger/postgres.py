"""What Postgres holds, as far as the ledger is concerned: minutes' masks that only grow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    AccountLimits,
    DueSession,
    Minute,
    SessionKey,
    SessionState,
    Settlement,
    StoredSession,
)
from meter.periods import Period


@dataclass
class Row:
    """A session's row and its minutes."""

    state: SessionState
    minutes: dict[int, int] = field(default_factory=dict)

    def moments(self) -> set[int]:
        """Its seconds, as epoch seconds."""
        return {
            minute * 60 + index
            for minute, mask in self.minutes.items()
            for index in range(60)
            if mask >> index & 1
        }

    def stored(self) -> StoredSession:
        return StoredSession(
            self.state, tuple(Minute(minute, mask) for minute, mask in self.minutes.items())
        )


class Postgres:
    """Rows merge by OR; a session's own row is replaced by a newer revision only."""

    def __init__(self) -> None:
        self.rows: dict[SessionKey, Row] = {}
        self.limits: dict[tuple[str, str], int] = {}
        self.versions: dict[str, int] = {}

    def commit(self, due: DueSession, minutes: Iterable[Minute]) -> Settlement:
        """Write a session's row and some of its minutes; what it now has of them."""
        key = due.state.key
        row = self.rows.setdefault(key, Row(due.state))
        if due.state.revision > row.state.revision:
            row.state = due.state
        settled = []
        for each in minutes:
            row.minutes[each.minute] = row.minutes.get(each.minute, 0) | each.mask
            settled.append(Minute(each.minute, row.minutes[each.minute]))
        return Settlement(key, due.state.revision, tuple(settled))

    def moments(self, key: SessionKey) -> set[int]:
        return self.rows[key].moments() if key in self.rows else set()

    def load_session(self, key: SessionKey) -> StoredSession | None:
        return self.rows[key].stored() if key in self.rows else None

    def set_limit(self, organization_id: str, user_id: str, seconds: int) -> None:
        """`user_id` is empty for the organization's own limit."""
        self.limits[organization_id, user_id] = seconds
        self.versions[organization_id] = self.versions.get(organization_id, 0) + 1

    def load_limits(self, organization_id: str) -> AccountLimits:
        """What a flusher tells the ledger after a change."""
        return AccountLimits(
            organization_id,
            self.versions.get(organization_id, 0),
            self.limits.get((organization_id, ""), UNLIMITED),
            {
                user: limit
                for (home, user), limit in self.limits.items()
                if user and home == organization_id
            },
        )

    def load_account(
        self, organization_id: str, user_id: str, periods: Sequence[Period]
    ) -> AccountFigures:
        rows = [row for key, row in self.rows.items() if key.organization_id == organization_id]
        own = [row for row in rows if row.state.user_id == user_id]
        return AccountFigures(
            organization_id,
            user_id,
            tuple(periods),
            tuple(_used(rows, period) for period in periods),
            tuple(_used(own, period) for period in periods),
            self.limits.get((organization_id, ""), UNLIMITED),
            self.limits.get((organization_id, user_id), UNLIMITED),
            self.versions.get(organization_id, 0),
            tuple(row.stored() for row in rows if row.state.ended_at is None),
        )


def _used(rows: Iterable[Row], period: Period) -> int:
    return sum(moment in period for row in rows for moment in row.moments())


def unknown_to_postgres(state: SessionState) -> StoredSession:
    """A session that only a gateway still knows, as it asks for it to be put back."""
    return StoredSession(replace(state, revision=0, ended_at=None, end_reason=None), ())
