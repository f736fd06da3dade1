"""Calendars whose month doesn't turn while a test records what was some minutes ago."""

import time
from collections.abc import Sequence

from meter.periods import BillingCycle, Period, period_of

CALM_SECONDS = 2 * 3600
# Their midnights are nine hours apart.
_ZONES = ("UTC", "Asia/Tokyo")


def calm_zone(zones: Sequence[str] = _ZONES) -> str:
    """The first of some time zones in which no month turned in the last two hours, nor will in the
    next two. UTC, the zone of accounts that say nothing, but for the four hours around its own
    turn."""
    now = int(time.time())
    for zone in zones:
        month = month_in(zone, now)
        if month.start + CALM_SECONDS <= now < month.end - CALM_SECONDS:
            return zone
    raise AssertionError(f"months turn everywhere at {now}")


def month_in(zone: str, second: int) -> Period:
    """The calendar month of a time zone that holds an epoch second."""
    return period_of(BillingCycle.calendar_months(zone), second)
