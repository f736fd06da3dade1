"""What the reference model does after a loss: sessions and accounts are put back, as Postgres has
them. See `model.py`."""

from collections.abc import Iterable, Iterator

from meter.ledger.keys import partition_of
from meter.ledger.model_state import Account, Figure, Moment, Session
from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    AccountLimits,
    Minute,
    Rules,
    SessionKey,
    StoredSession,
)


class Restorable:
    """What the model holds, and what puts it there that others have."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.accounts: dict[str, Account] = {}
        self.sessions: dict[tuple[int, str], Session] = {}
        self.leases: dict[int, str] = {}
        self.told: dict[str, int] = {}  # the version of an organization's limits

    def find(self, key: SessionKey) -> Session | None:
        """Sessions are told apart by id within a partition, whichever organization asks."""
        return self.sessions.get((partition_of(key.organization_id), key.session_id))

    def restore_session(self, stored: StoredSession, metadata: str, now: Moment) -> bool:
        """Put a session back as Postgres has it, unless it is there. A revision of 0: Postgres
        doesn't know it, so its row is due."""
        if self.find(stored.state.key) is not None:
            return False
        state = stored.state
        session = Session(
            state.key, state.user_id, state.kind, state.origin, now[0], state.revision
        )
        session.durable, session.listed = state.revision, now[0]
        session.ended_at, session.end_reason = state.ended_at, state.end_reason
        session.expiring = state.ended_at is not None
        if state.revision == 0:
            session.metadata = metadata
            session.change(now)
        self.sessions[partition_of(state.key.organization_id), state.key.session_id] = session
        self._merge(session, stored.minutes)
        return True

    def _merge(self, session: Session, minutes: Iterable[Minute]) -> None:
        for row in minutes:
            session.counted.update(seconds_of(session.origin, row))

    def seed_account(self, figures: AccountFigures, now: Moment) -> int:
        """Set figures where they are absent. A cold organization's live sessions come with them,
        of the same snapshot: figures and sets cannot disagree. Outdated limits, or a cold
        organization without its live sessions, leave all as it is."""
        was_cold = figures.organization_id not in self.accounts
        outdated = figures.limits_version < self.told.get(figures.organization_id, 0)
        if outdated or (was_cold and figures.live is None):
            return 0
        account = self.accounts.setdefault(figures.organization_id, Account())
        account.set_periods(figures.periods, now[0])
        account.limit, account.terms = figures.organization_limit, figures.terms
        account.member_limits[figures.user_id] = figures.member_limit
        for at, period in enumerate(figures.periods):
            both = (
                account.used.setdefault(period.start, Figure(figures.organization_used[at])),
                account.member_used.setdefault(
                    (period.start, figures.user_id), Figure(figures.member_used[at])
                ),
            )
            for figure, seconds in zip(both, figures.adjusted(at), strict=True):
                figure.adjusted = seconds
        if not was_cold:
            return 0
        put_back = 0
        for stored in figures.live or ():
            put_back += self.restore_session(stored, "", now)
            session = self.find(stored.state.key)
            assert session is not None
            self._merge(session, stored.minutes)
        return put_back

    def set_limits(self, limits: AccountLimits, now: Moment) -> None:
        """An organization's present limits, unless it was told newer ones."""
        told = self.told.setdefault(limits.organization_id, limits.version)
        if limits.version < told:
            return
        self.told[limits.organization_id] = limits.version
        account = self.accounts.get(limits.organization_id)
        if account is not None:
            account.limit, account.terms = limits.organization_limit, limits.terms
            account.set_periods(limits.periods or account.periods, now[0])
            for each in limits.adjustments:
                figure = account.figure(each.period_start, each.user_id)
                if figure is not None:
                    figure.adjusted = each.seconds
            for user_id in account.member_limits:
                account.member_limits[user_id] = limits.member_limits.get(user_id, UNLIMITED)


def seconds_of(origin: int, row: Minute) -> Iterator[int]:
    """A minute's seconds as the session's; none before its origin."""
    for index in range(60):
        second = row.minute * 60 + index - origin
        if row.mask >> index & 1 and second >= 0:
            yield second
