"""Warning thresholds of a plan: which ones an account has passed, and whom to tell. Pure.

All is decided by seconds used. For a given limit a threshold has one mark: the used seconds from
which on it is passed, computed in integers, so that the second exactly at it counts.

A threshold is passed by using something. One that holds before anything is used (10 minutes
remaining, of a limit of 10 minutes or less) warns of nothing and has no mark; nor does any
threshold without a limit, or of a limit of 0. (Remaining thresholds are the Time-Quota-Threshold
of 3GPP TS 32.299, which builds on RFC 8506.)
"""

from enum import StrEnum
from functools import lru_cache

from msgspec import Struct

from meter.limits import UNLIMITED
from meter.periods import Period


class ThresholdKind(StrEnum):
    """`kind` of a `warning`."""

    REMAINING_MINUTES = "remaining_minutes"
    PERCENT = "percent"


_KINDS = {"m": ThresholdKind.REMAINING_MINUTES, "p": ThresholdKind.PERCENT}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}


class Threshold(Struct, frozen=True, cache_hash=True):
    """Passed with `value` minutes or less remaining, or with `value` percent or more used.

    Raises `ValueError` for a negative value, and for 0 percent.
    """

    kind: ThresholdKind
    value: int

    def __post_init__(self) -> None:
        if self.value < (self.kind is ThresholdKind.PERCENT):
            raise ValueError(f"no threshold: {self.value} {self.kind}")

    def mark(self, limit: int) -> int:
        """The used seconds from which on this is passed, for a limit of 0 seconds or more; 0 or
        less when it is passed before anything is used."""
        if self.kind is ThresholdKind.PERCENT:
            return -(-self.value * limit // 100)
        return limit - self.value * 60

    @property
    def text(self) -> str:
        """In short: `m10`, `p90`."""
        return f"{_LETTERS[self.kind]}{self.value}"

    @classmethod
    def parse(cls, text: str) -> "Threshold":
        """The inverse of `text`."""
        return cls(_KINDS[text[0]], int(text[1:]))


Thresholds = tuple[Threshold, ...]

DEFAULT_THRESHOLDS: Thresholds = (
    Threshold(ThresholdKind.REMAINING_MINUTES, 10),
    Threshold(ThresholdKind.REMAINING_MINUTES, 5),
    Threshold(ThresholdKind.REMAINING_MINUTES, 1),
    Threshold(ThresholdKind.PERCENT, 70),
    Threshold(ThresholdKind.PERCENT, 90),
    Threshold(ThresholdKind.PERCENT, 100),
)


class Mark(Struct, frozen=True):
    """A threshold and the used seconds from which on it is passed."""

    used: int
    threshold: Threshold


@lru_cache(maxsize=4096)
def marks(limit: int, thresholds: Thresholds) -> tuple[Mark, ...]:
    """The marks that `thresholds` have for a limit in seconds, the most advanced one last.

    The later passed, the more advanced. Of those passed in the same second: minutes before
    percent, as they tell how long there is; fewer minutes remaining, more percent used.
    """
    if limit == UNLIMITED:
        return ()
    found = (Mark(threshold.mark(limit), threshold) for threshold in thresholds)
    return tuple(sorted((mark for mark in found if mark.used > 0), key=_advancedness))


def _advancedness(mark: Mark) -> tuple[int, bool, int]:
    kind, value = mark.threshold.kind, mark.threshold.value
    is_minutes = kind is ThresholdKind.REMAINING_MINUTES
    return mark.used, is_minutes, -value if is_minutes else value


def passed(used: int, limit: int, thresholds: Thresholds) -> Thresholds:
    """The thresholds passed now, the most advanced one last. Seconds; `limit` may be
    `UNLIMITED`."""
    return tuple(mark.threshold for mark in marks(limit, thresholds) if mark.used <= used)


def next_mark(used: int, limit: int, thresholds: Thresholds) -> float:
    """The used seconds from which on one more threshold is passed than now; infinite without."""
    return next((mark.used for mark in marks(limit, thresholds) if mark.used > used), float("inf"))


def present(used: int, limit: int, thresholds: Thresholds) -> Threshold | None:
    """The most advanced threshold passed now: what a session that joins late is told."""
    return (None, *passed(used, limit, thresholds))[-1]


def crossed(old_used: int, new_used: int, limit: int, thresholds: Thresholds) -> Threshold | None:
    """The most advanced threshold with `old_used < mark <= new_used`, None without one."""
    between = [
        mark.threshold for mark in marks(limit, thresholds) if old_used < mark.used <= new_used
    ]
    return between[-1] if between else None


class Alert(Struct, frozen=True):
    """An account has passed a threshold of its limit in a period: the organization, or with
    `user_id` one member of it. Used and limit are in seconds, as when it was noticed."""

    organization_id: str
    user_id: str | None
    period: Period
    threshold: Threshold
    used_seconds: int
    limit_seconds: int


class Told(Struct, frozen=True):
    """What one session, or one dashboard, needs no more warning of in a period: the thresholds
    it was told, and those that a more advanced one overtook."""

    period: Period | None = None
    thresholds: frozenset[Threshold] = frozenset()

    @property
    def text(self) -> str:
        """As the ledger keeps it with a session: `1793491200-1796083200;m10,p90`."""
        if self.period is None:
            return ""
        marks = ",".join(sorted(each.text for each in self.thresholds))
        return f"{self.period.start}-{self.period.end};{marks}"

    @classmethod
    def parse(cls, text: str) -> "Told":
        """The inverse of `text`."""
        if not text:
            return NOTHING_TOLD
        period, _, marks = text.partition(";")
        start, _, end = period.partition("-")
        return cls(
            Period(int(start), int(end)),
            frozenset(Threshold.parse(mark) for mark in marks.split(",") if mark),
        )


NOTHING_TOLD = Told()


def tell(
    told: Told, period: Period, used: int, limit: int, thresholds: Thresholds
) -> tuple[Threshold | None, Told]:
    """What to warn of now, if of anything, and what has been told then.

    Level-triggered: asked with the account's present figures at any time, it needs no history but
    `told`. Each threshold is told once a period at most, and none that a more advanced one has
    overtaken; a limit that is raised, passed again or lowered repeats none of them.
    """
    if told.period != period:
        told = Told(period)
    now = passed(used, limit, thresholds)
    if told.thresholds.issuperset(now):
        return None, told
    warning = now[-1] if now[-1] not in told.thresholds else None
    return warning, Told(period, told.thresholds.union(now))
