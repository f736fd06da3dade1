"""What an account's plan says beyond its limit: how it may be passed, and when to warn. Pure."""

from functools import lru_cache

from msgspec import Struct

from meter.limits import UNLIMITED
from meter.thresholds import DEFAULT_THRESHOLDS, Threshold, Thresholds


class Terms(Struct, frozen=True):
    """An account's terms; the defaults are those of an account without a plan: a hard stop.

    `overage_seconds` is how far past the organization's limit seconds count, as overage (0: a hard
    stop; `UNLIMITED`: a soft cap without a ceiling). `most_sessions` may be live at once, each of
    `longest_seconds` at most; both may be `UNLIMITED`. After a stop a recorder may stay connected
    for `grace_seconds` (None: as the gateway is set); what it records in them counts, as overage,
    only with `grace_is_overage`, which needs a number of them.
    """

    overage_seconds: int = 0
    most_sessions: int = UNLIMITED
    longest_seconds: int = UNLIMITED
    grace_seconds: int | None = None
    grace_is_overage: bool = False
    thresholds: Thresholds = DEFAULT_THRESHOLDS

    @property
    def text(self) -> str:
        """As the ledger keeps it, its library reading the first five: numbers and letters between
        semicolons; the defaults are an empty text."""
        if self == DEFAULT_TERMS:
            return ""
        grace = UNLIMITED if self.grace_seconds is None else self.grace_seconds
        numbers = (
            self.overage_seconds,
            self.most_sessions,
            self.longest_seconds,
            grace,
            int(self.grace_is_overage),
        )
        marks = ",".join(each.text for each in self.thresholds)
        return ";".join((*map(str, numbers), marks))

    @property
    def bills_past_limit(self) -> bool:
        """Whether seconds past the limit are overage, and not a limit that was lowered."""
        return self.overage_seconds != 0 or self.grace_is_overage

    def grace(self, default_seconds: int) -> int:
        """How long a recorder may stay connected after a stop, in seconds."""
        return default_seconds if self.grace_seconds is None else self.grace_seconds

    def longest(self, default_seconds: int) -> int:
        """The longest session, in seconds: the plan's, or a shorter one that holds for all."""
        if self.longest_seconds == UNLIMITED:
            return default_seconds
        return min(self.longest_seconds, default_seconds)


DEFAULT_TERMS = Terms()


@lru_cache(maxsize=4096)
def parse_terms(text: str | bytes) -> Terms:
    """The inverse of `Terms.text`; accounts of one plan share one object."""
    if not text:
        return DEFAULT_TERMS
    parts = (text if isinstance(text, str) else text.decode()).split(";")
    overage, most, longest, grace, counts = map(int, parts[:5])
    return Terms(
        overage_seconds=overage,
        most_sessions=most,
        longest_seconds=longest,
        grace_seconds=None if grace == UNLIMITED else grace,
        grace_is_overage=bool(counts),
        thresholds=tuple(Threshold.parse(mark) for mark in parts[5].split(",") if mark),
    )
