"""Crossed thresholds of accounts: each is one row in `usage_alerts`, whoever saw it. Pure."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from meter.ledger.types import Standing
from meter.limits import UNLIMITED
from meter.periods import Period
from meter.terms import Terms
from meter.thresholds import Alert, marks, next_mark

MAX_ACCOUNTS = 200_000


class _Seen(Struct):
    """What was noticed of an account last. Below `next_used` nothing more is passed."""

    period: Period
    limit: int
    terms: Terms
    next_used: float


class AlertBook:
    """What one process has noticed, so that it notes each crossing once. Another process, or this
    one started anew, notices them again; the rows' key makes one of them."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str | None], _Seen] = {}

    def notice(self, organization_id: str, user_id: str, standing: Standing) -> list[Alert]:
        """The crossings that an account's present standing shows and that were not noticed yet:
        the organization's and the member's, whichever of their limits binds."""
        found: list[Alert] = []
        period, terms = standing.period, standing.terms
        for whose, used, limit in (
            (None, standing.used, standing.limit),
            (user_id, standing.member_used, standing.member_limit),
        ):
            if limit == UNLIMITED:
                continue
            seen = self._seen.get((organization_id, whose))
            if (
                seen is None
                or used >= seen.next_used
                or limit != seen.limit
                or terms is not seen.terms
                or period != seen.period
            ):
                found += self._noticed(organization_id, whose, used, limit, standing)
        return found

    def forget(self, alerts: Iterable[Alert]) -> None:
        """They could not be noted: they are noticed again."""
        for alert in alerts:
            self._seen.pop((alert.organization_id, alert.user_id), None)

    def _noticed(
        self, organization_id: str, whose: str | None, used: int, limit: int, standing: Standing
    ) -> Iterator[Alert]:
        thresholds = marks(limit, standing.terms.thresholds)
        before = self._seen.get((organization_id, whose))
        known = -1.0
        if before is not None and (before.period, before.limit, before.terms) == (
            standing.period,
            limit,
            standing.terms,
        ):
            known = before.next_used
        if len(self._seen) >= MAX_ACCOUNTS:
            self._seen.clear()
        self._seen[organization_id, whose] = _Seen(
            standing.period,
            limit,
            standing.terms,
            next_mark(used, limit, standing.terms.thresholds),
        )
        for mark in thresholds:
            if known <= mark.used <= used:
                yield Alert(organization_id, whose, standing.period, mark.threshold, used, limit)
