"""What Postgres holds, as far as the ledger is concerned: minutes' masks that only grow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    AccountLimits,
    Adjusted,
    DueSession,
    Minute,
    SessionKey,
    SessionState,
    Settlement,
    StoredSession,
)
from meter.periods import Period
from meter.terms import DEFAULT_TERMS, Terms


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
        self.terms: dict[str, Terms] = {}
        self.adjustments: dict[tuple[str, int, str | None], int] = {}

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

    def set_terms(self, organization_id: str, terms: Terms) -> None:
        """The organization's plan changes."""
        self.terms[organization_id] = terms
        self.versions[organization_id] = self.versions.get(organization_id, 0) + 1

    def adjust(self, organization_id: str, user_id: str | None, start: int, seconds: int) -> None:
        """An operator adds to what is used in a period; a member's is the organization's too."""
        for user in {None, user_id}:
            place = organization_id, start, user
            self.adjustments[place] = self.adjustments.get(place, 0) + seconds
        self.versions[organization_id] = self.versions.get(organization_id, 0) + 1

    def _adjusted(self, organization_id: str) -> tuple[Adjusted, ...]:
        return tuple(
            Adjusted(start, user_id, seconds)
            for (home, start, user_id), seconds in self.adjustments.items()
            if home == organization_id
        )

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
            self.terms.get(organization_id, DEFAULT_TERMS),
            adjustments=self._adjusted(organization_id),
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
            self.terms.get(organization_id, DEFAULT_TERMS),
            self.versions.get(organization_id, 0),
            tuple(row.stored() for row in rows if row.state.ended_at is None),
            self._adjusted(organization_id),
        )


def _used(rows: Iterable[Row], period: Period) -> int:
    return sum(moment in period for row in rows for moment in row.moments())


def unknown_to_postgres(state: SessionState) -> StoredSession:
    """A session that only a gateway still knows, as it asks for it to be put back."""
    return StoredSession(replace(state, revision=0, ended_at=None, end_reason=None), ())
