"""What a dashboard is told: a view of its account in, frames out. Pure.

Level-triggered, as recorders are told: it needs nothing but the newest view and what it said last.
"""

from dataclasses import dataclass

from meter import messages
from meter.codes import EndReason
from meter.ledger.types import Standing
from meter.thresholds import NOTHING_TOLD
from meter.usage import is_exhausted, warning_of
from meter.usage_messages import encode

# Accounts are read so often, give or take the other.
PERIOD_SECONDS = 1.0
JITTER_SECONDS = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An account as one of its users sees it, encoded once for all who watch."""

    standing: Standing
    frame: str


class Feed:
    """One dashboard's. `grace_seconds` is what recorders are told with `stop`, unless their plan
    says another."""

    def __init__(self, grace_seconds: int) -> None:
        self._grace_seconds = grace_seconds
        self._frame = ""
        self._said_at = float("-inf")
        self._told = NOTHING_TOLD
        self._stopped = False

    def waits(self, now: float) -> bool:
        """Whether something was said so lately that a view has to wait for the next reading."""
        return now - self._said_at < PERIOD_SECONDS - JITTER_SECONDS

    def frames(self, view: View, now: float) -> list[str]:
        """What to say of a view: nothing when it is as it was."""
        if view.frame == self._frame:
            return []
        self._frame, self._said_at = view.frame, now
        return [view.frame, *map(encode, self._news(view))]

    def _news(self, view: View) -> list[messages.ServerMessage]:
        news: list[messages.ServerMessage] = []
        warning, self._told = warning_of(view.standing, self._told)
        if warning is not None:
            news.append(warning)
        exhausted = is_exhausted(view.standing)
        if exhausted and not self._stopped:
            grace_seconds = view.standing.terms.grace(self._grace_seconds)
            news.append(messages.StopNotice(EndReason.LIMIT_REACHED.value, -1, grace_seconds))
        self._stopped = exhausted
        return news
