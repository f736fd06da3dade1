"""Billing periods: half-open intervals of epoch seconds. Pure.

Accounts use calendar months in UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """From `start` (inclusive) to `end` (exclusive), in epoch seconds."""

    start: int
    end: int

    def __contains__(self, second: int) -> bool:
        return self.start <= second < self.end


def month_start(year: int, month: int) -> int:
    """Epoch second at which a calendar month begins in UTC; months outside 1-12 carry over."""
    carry, index = divmod(month - 1, 12)
    return int(datetime(year + carry, index + 1, 1, tzinfo=UTC).timestamp())


def month_of(second: int) -> Period:
    """The calendar month in UTC that holds an epoch second."""
    moment = datetime.fromtimestamp(second, UTC)
    return Period(
        month_start(moment.year, moment.month), month_start(moment.year, moment.month + 1)
    )


def around(second: int) -> tuple[Period, ...]:
    """The periods before, of and after an epoch second: those a ledger needs at that time, as
    late seconds belong to the one before, and a live session goes over into the one after."""
    present = month_of(second)
    return month_of(present.start - 1), present, month_of(present.end)
