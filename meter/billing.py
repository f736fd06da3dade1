"""Billing increments: how exact seconds become billed seconds, and minutes for people. Pure.

Seconds are stored and limited exactly (RFC 8506's CC-Time); rounding happens here, when somebody
is billed or shown minutes, and nowhere else.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

MAX_INCREMENT_SECONDS = 86_400

_NOTATION = re.compile(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})")


class BadIncrement(ValueError):
    """`text` is no billing increment."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:64]!r} is no billing increment: two whole numbers of seconds"
            f" from 1 to {MAX_INCREMENT_SECONDS}, such as 60/60 or 60/1"
        )
        self.text = text


class Increment(Struct, frozen=True):
    """Telecom's `initial/subsequent`, in seconds: what the first part of a call is billed as at
    least, and the steps it is billed in from there on. `1/1` is exact, `60/60` whole minutes,
    `60/1` a minute at least and then by the second. Raises `BadIncrement`."""

    initial: int
    subsequent: int

    def __post_init__(self) -> None:
        if not all(1 <= part <= MAX_INCREMENT_SECONDS for part in (self.initial, self.subsequent)):
            raise BadIncrement(str(self))

    def __str__(self) -> str:
        return f"{self.initial}/{self.subsequent}"

    @classmethod
    def parse(cls, text: str) -> "Increment":
        """Read `60/60`; the inverse of `str`. Raises `BadIncrement`."""
        match = _NOTATION.fullmatch(text)
        if match is None or max(map(int, match.groups())) > MAX_INCREMENT_SECONDS:
            raise BadIncrement(text)
        return cls(int(match[1]), int(match[2]))

    def billed_seconds(self, seconds: int, earlier: int = 0) -> int:
        """What exact seconds are billed as; nothing is billed for none.

        `earlier` are exact seconds of the same session that were billed before, in the period
        before this one: the rounding goes on from there, so that a session over two periods is
        billed in both together what it would be in one. Raises `ValueError` below zero.
        """
        if seconds < 0 or earlier < 0:
            raise ValueError(f"no seconds to bill: {seconds} after {earlier}")
        return self._rounded_up(earlier + seconds) - self._rounded_up(earlier)

    def _rounded_up(self, seconds: int) -> int:
        if seconds == 0:
            return 0
        steps = -(-max(seconds - self.initial, 0) // self.subsequent)
        return self.initial + steps * self.subsequent


class Rounding(StrEnum):
    """What a plan's increment is applied to."""

    SESSION = "session"  # to each session, then summed
    PERIOD = "period"  # to the sum of the period's sessions, once


class Session(Struct, frozen=True, gc=False):
    """Exact seconds of one session: in the period to bill, and `earlier`, in those before it."""

    seconds: int
    earlier: int = 0


class BillingRule(Struct, frozen=True):
    """A plan's billing increment. The default: sum up, then round up to whole minutes."""

    increment: Increment = Increment(60, 60)
    rounding: Rounding = Rounding.PERIOD

    def billed_seconds(self, sessions: Iterable[Session], adjusted: int = 0) -> int:
        """The billed seconds of a period, out of the exact ones of its sessions, and of those that
        were adjusted by hand: part of the sum, and of no session. Never below 0."""
        if self.rounding is Rounding.PERIOD:
            total = sum(session.seconds for session in sessions) + adjusted
            return self.increment.billed_seconds(max(total, 0))
        billed = sum(
            self.increment.billed_seconds(session.seconds, session.earlier) for session in sessions
        )
        return max(billed + adjusted, 0)


def used_minutes(seconds: int) -> int:
    """Whole minutes to show as used, rounded up: one second is a minute. Of a credit, which is
    below zero, none."""
    return -(-max(seconds, 0) // 60)


def remaining_minutes(seconds: int) -> int:
    """Whole minutes to show as remaining, rounded down: with `used_minutes` they add up to a limit
    of whole minutes, and nobody is promised a minute that isn't there."""
    return seconds // 60
