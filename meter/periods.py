"""Billing periods: half-open intervals of epoch seconds. Pure.

A second belongs to the period of its own time, however late it is counted. An account's billing
cycle says when its periods turn; those of an account without one are calendar months in UTC.
"""

from bisect import bisect_left
from calendar import monthrange
from datetime import UTC, date, datetime, time
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Struct

# Listed with the zones by some systems, but no place's time.
_NO_PLACE = frozenset({"Factory", "localtime"})


class Period(Struct, frozen=True, order=True, gc=False):
    """From `start` (inclusive) to `end` (exclusive), in epoch seconds."""

    start: int
    end: int

    def __contains__(self, second: int) -> bool:
        return self.start <= second < self.end


class UnknownTimeZone(ValueError):
    """`zone` is no name of the IANA time zone database, as this machine has it."""

    def __init__(self, zone: str) -> None:
        super().__init__(f"{zone[:64]!r} is no IANA time zone, such as Europe/Paris")
        self.zone = zone


class BillingCycle(Struct, frozen=True):
    """Turns each month at the start of day `anchor_day` (1-31) in the IANA time zone `zone`.

    Calendar months are the cycle of day 1. In a month without the day, the month's last day
    stands in for it, and only there: from the 31st of January to the end of February, then again
    to the 31st of March.

    Periods turn at the start of a day, not at the time of day somebody subscribed: this is what
    people read a date as, and it splits no UTC minute, the unit in which seconds are stored.
    (Offsets that aren't whole minutes ended in 1972, with Liberia's.)

    Raises `UnknownTimeZone`, and `ValueError` for a day outside 1-31.
    """

    zone: str = "UTC"
    anchor_day: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.anchor_day <= 31:
            raise ValueError(f"an anchor is a day from 1 to 31, not {self.anchor_day}")
        time_zone(self.zone)

    @classmethod
    def calendar_months(cls, zone: str) -> "BillingCycle":
        """Calendar months in a time zone."""
        return cls(zone)

    @classmethod
    def anniversary(cls, anchor: date, zone: str) -> "BillingCycle":
        """Months from the day of the month of `anchor` on: the date, in the account's time zone,
        on which its subscription began. The day's seconds before that moment are in the first
        period too."""
        return cls(zone, anchor.day)


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


def period_of(cycle: BillingCycle, second: int) -> Period:
    """The cycle's period that holds an epoch second."""
    moment = datetime.fromtimestamp(second, time_zone(cycle.zone))
    month = moment.year * 12 + moment.month - 1
    # A clock set back over midnight shows the month before again, so this month's turn and the
    # two next to it are all compared as moments, never as dates.
    turns = [_turn(cycle, month), _turn(cycle, month + 1)]
    if second < turns[0]:
        turns.insert(0, _turn(cycle, month - 1))
    elif second >= turns[1]:
        turns = [turns[1], _turn(cycle, month + 2)]
    return Period(turns[0], turns[1])


def period_before(cycle: BillingCycle, period: Period) -> Period:
    """The cycle's period that ends where `period` starts."""
    return period_of(cycle, period.start - 1)


def period_after(cycle: BillingCycle, period: Period) -> Period:
    """The cycle's period that starts where `period` ends."""
    return period_of(cycle, period.end)


def periods_around(cycle: BillingCycle, second: int) -> tuple[Period, Period, Period]:
    """The cycle's periods before, of and after an epoch second; see `around`."""
    present = period_of(cycle, second)
    return period_before(cycle, present), present, period_after(cycle, present)


def date_of(second: int, zone: str) -> date:
    """The date in a time zone at an epoch second. Raises `UnknownTimeZone`."""
    return datetime.fromtimestamp(second, time_zone(zone)).date()


def start_of_day(day: date, zone: str) -> int:
    """The first epoch second at which it is `day`, or a later one, in a time zone.

    That is midnight; the first of the two where clocks are set back over it, and the moment
    they are set forward where that skips it, or skips the whole day. Raises `UnknownTimeZone`.
    """
    place = time_zone(zone)
    midnight = datetime.combine(day, time())
    # PEP 495: fold 0 reads a clock by the offset before a change, fold 1 by the one after it.
    by_old, by_new = (int(midnight.replace(tzinfo=place, fold=fold).timestamp()) for fold in (0, 1))
    if by_old <= by_new:
        return by_old
    skipped = range(by_new, by_old)
    return by_new + bisect_left(
        skipped,
        midnight,
        key=lambda second: datetime.fromtimestamp(second, place).replace(tzinfo=None),
    )


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name, spelled exactly. Raises `UnknownTimeZone`.

    Nothing else that may lie beside the zones' files will do: those under `right/` count leap
    seconds, which epoch seconds don't.
    """
    if name not in _zone_names():
        raise UnknownTimeZone(name)
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_PLACE


def _turn(cycle: BillingCycle, month: int) -> int:
    """Epoch second at which the cycle turns in a month, numbered `year * 12 + month - 1`."""
    year, index = divmod(month, 12)
    _, last_day = monthrange(year, index + 1)
    return start_of_day(date(year, index + 1, min(cycle.anchor_day, last_day)), cycle.zone)
