"""Billing cycles: calendar months and anniversaries, in the account's time zone."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meter.periods import (
    BillingCycle,
    Period,
    UnknownTimeZone,
    around,
    date_of,
    month_of,
    period_after,
    period_before,
    period_of,
    periods_around,
    start_of_day,
    time_zone,
)

DAY = 86_400
places = st.sampled_from(sorted(available_timezones() - {"Factory", "localtime"}))
cycles = st.builds(BillingCycle, places, st.integers(1, 31))


def _at(text: str) -> int:
    """Epoch seconds of an ISO time with its offset."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return int(moment.timestamp())


moments = st.integers(_at("1973-01-01T00:00Z"), _at("2100-01-01T00:00Z"))


def _first_days(cycle: BillingCycle, second: int, count: int) -> list[str]:
    """The dates on which `count` periods start, from that of a second on."""
    period, days = period_of(cycle, second), []
    for _ in range(count):
        days.append(date_of(period.start, cycle.zone).isoformat())
        period = period_after(cycle, period)
    return days


@pytest.mark.parametrize(
    ("zone", "new_year"),
    [
        ("Pacific/Auckland", "2026-01-01T00:00+13:00"),
        ("Asia/Kathmandu", "2026-01-01T00:00+05:45"),
        ("America/New_York", "2026-01-01T00:00-05:00"),
    ],
)
def test_a_year_ends_at_local_midnight(zone: str, new_year: str) -> None:
    cycle, turn = BillingCycle.calendar_months(zone), _at(new_year)
    assert period_of(cycle, turn - 1).end == turn
    assert period_of(cycle, turn).start == turn


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        # Clocks change within each of these months, but in Kathmandu.
        ("Pacific/Auckland", "2025-04-01T00:00+13:00", "2025-05-01T00:00+12:00"),
        ("Pacific/Auckland", "2025-09-01T00:00+12:00", "2025-10-01T00:00+13:00"),
        ("Asia/Kathmandu", "2025-03-01T00:00+05:45", "2025-04-01T00:00+05:45"),
        ("America/New_York", "2025-03-01T00:00-05:00", "2025-04-01T00:00-04:00"),
        ("America/New_York", "2025-11-01T00:00-04:00", "2025-12-01T00:00-05:00"),
    ],
)
def test_a_month_runs_from_local_midnight_to_local_midnight(
    zone: str, start: str, end: str
) -> None:
    cycle, month = BillingCycle.calendar_months(zone), Period(_at(start), _at(end))
    assert period_of(cycle, month.start) == month
    assert period_of(cycle, month.end - 1) == month
    assert period_of(cycle, month.start - 1).end == month.start
    assert period_of(cycle, month.end).start == month.end


def test_one_moment_is_in_different_months_in_different_places() -> None:
    moment = _at("2026-12-31T18:00Z")
    starts = {
        zone: _first_days(BillingCycle(zone), moment, 1)
        for zone in ("UTC", "Asia/Kathmandu", "Pacific/Auckland")
    }
    assert starts == {
        "UTC": ["2026-12-01"],
        "Asia/Kathmandu": ["2026-12-01"],
        "Pacific/Auckland": ["2027-01-01"],
    }


def test_a_month_in_which_clocks_change_is_an_hour_shorter_or_longer() -> None:
    cycle = BillingCycle("America/New_York")
    march, november = (period_of(cycle, _at(f"2025-{month}-15T12:00Z")) for month in ("03", "11"))
    assert march.end - march.start == 31 * DAY - 3600
    assert november.end - november.start == 30 * DAY + 3600


def test_an_anchor_of_31_is_each_months_last_day_over_a_whole_year_and_never_slides() -> None:
    cycle = BillingCycle.anniversary(date(2026, 1, 31), "America/New_York")
    assert _first_days(cycle, _at("2026-01-31T12:00-05:00"), 14) == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
        "2026-06-30",
        "2026-07-31",
        "2026-08-31",
        "2026-09-30",
        "2026-10-31",
        "2026-11-30",
        "2026-12-31",
        "2027-01-31",
        "2027-02-28",
    ]


@pytest.mark.parametrize(
    ("anchor_day", "common", "leap"),
    [
        (28, "02-28", "02-28"),
        (29, "02-28", "02-29"),
        (30, "02-28", "02-29"),
        (31, "02-28", "02-29"),
    ],
)
def test_an_anchor_past_februarys_end_is_its_last_day(
    anchor_day: int, common: str, leap: str
) -> None:
    cycle = BillingCycle("Pacific/Auckland", anchor_day)
    assert _first_days(cycle, _at("2027-02-15T00:00Z"), 3)[1:] == [
        f"2027-{common}",
        f"2027-03-{anchor_day}",
    ]
    assert _first_days(cycle, _at("2028-02-15T00:00Z"), 3)[1:] == [
        f"2028-{leap}",
        f"2028-03-{anchor_day}",
    ]


def test_the_29th_of_february_is_a_day_of_its_own_period() -> None:
    cycle = BillingCycle("Asia/Kathmandu", 29)
    leap_day = Period(_at("2028-02-29T00:00+05:45"), _at("2028-03-29T00:00+05:45"))
    assert period_of(cycle, leap_day.start) == leap_day
    assert leap_day.start - 1 not in leap_day
    assert period_of(BillingCycle("Asia/Kathmandu"), leap_day.start + DAY - 1).end == (
        leap_day.start + DAY
    )


def test_a_subscription_of_the_29th_of_february_turns_on_the_29th_or_the_last_day() -> None:
    cycle = BillingCycle.anniversary(date(2028, 2, 29), "UTC")
    assert _first_days(cycle, _at("2029-01-29T00:00Z"), 3) == [
        "2029-01-29",
        "2029-02-28",
        "2029-03-29",
    ]


def test_the_day_on_which_somebody_subscribes_is_in_the_first_period_from_its_midnight_on() -> None:
    cycle = BillingCycle.anniversary(date(2025, 7, 14), "Europe/Paris")
    first = period_of(cycle, _at("2025-07-14T17:23:09+02:00"))
    assert first == Period(_at("2025-07-14T00:00+02:00"), _at("2025-08-14T00:00+02:00"))


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        # Midnight is skipped: the day starts at 01:00.
        ("America/Havana", "2024-03-10", "2024-03-10T01:00-04:00"),
        ("Asia/Beirut", "2024-03-31", "2024-03-31T01:00+03:00"),
        ("Africa/Cairo", "2024-04-26", "2024-04-26T01:00+03:00"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00-02:00"),
        ("Atlantic/Azores", "2024-03-31", "2024-03-31T01:00+00:00"),
        # Clocks go back to midnight, or over it: the day starts at the first of the two.
        ("America/Havana", "2024-11-03", "2024-11-03T00:00-04:00"),
        ("America/St_Johns", "2009-11-01", "2009-11-01T00:00-02:30"),
        # Clocks go back at midnight, to the day before: the hour before midnight comes twice.
        ("Asia/Beirut", "2024-10-27", "2024-10-27T00:00+02:00"),
        ("Africa/Cairo", "2024-11-01", "2024-11-01T00:00+02:00"),
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T00:00-03:00"),
        # At 23:30 it became 00:30: the day starts in between.
        ("America/Toronto", "1919-03-31", "1919-03-31T00:30-04:00"),
        # Days that never were start when the next one does.
        ("Pacific/Apia", "2011-12-30", "2011-12-31T00:00+14:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-31T00:00+14:00"),
        ("Pacific/Kwajalein", "1993-08-21", "1993-08-22T00:00+12:00"),
        # An offset that isn't whole minutes.
        ("Africa/Monrovia", "1971-12-01", "1971-12-01T00:00:00-00:44:30"),
    ],
)
def test_a_day_starts_when_its_date_or_a_later_one_first_shows(
    zone: str, day: str, start: str
) -> None:
    assert start_of_day(date.fromisoformat(day), zone) == _at(start)


def test_a_period_turns_on_a_day_that_never_was_when_the_next_one_starts() -> None:
    cycle, turn = BillingCycle("Pacific/Apia", 30), _at("2011-12-31T00:00+14:00")
    assert period_of(cycle, turn - 1) == Period(_at("2011-11-30T00:00-10:00"), turn)
    assert period_of(cycle, turn) == Period(turn, _at("2012-01-30T00:00+14:00"))


def test_seconds_after_a_turn_stay_in_the_new_period_when_clocks_go_back_over_midnight() -> None:
    cycle, turn = BillingCycle("America/St_Johns"), _at("2009-11-01T00:00-02:30")
    october_again = turn + 1800
    assert date_of(october_again, cycle.zone) == date(2009, 10, 31)
    assert period_of(cycle, october_again) == period_of(cycle, turn)
    assert period_of(cycle, turn).start == turn


@given(zone=places, day=st.dates(date(1973, 1, 1), date(2100, 1, 1)), is_a_change=st.booleans())
@example(zone="Pacific/Apia", day=date(2011, 12, 30), is_a_change=False)
@example(zone="America/St_Johns", day=date(2009, 11, 1), is_a_change=False)
@example(zone="America/Havana", day=date(2024, 3, 10), is_a_change=False)
def test_no_moment_before_the_start_of_a_day_has_its_date(
    zone: str, day: date, is_a_change: bool
) -> None:
    place = ZoneInfo(zone)
    if is_a_change:
        day = _next_change(place, day)
    start = start_of_day(day, zone)
    assert start % 60 == 0
    assert datetime.fromtimestamp(start, place).date() >= day
    assert datetime.fromtimestamp(start - 1, place).date() < day
    earlier = range(start - 2 * DAY, start, 900)
    assert all(datetime.fromtimestamp(second, place).date() < day for second in earlier)


def _next_change(place: ZoneInfo, day: date) -> date:
    """The next day, within a year, on which clocks change."""
    noons = (
        datetime(day.year, day.month, day.day, 12, tzinfo=place) + timedelta(n) for n in range(366)
    )
    return next((b.date() for a, b in pairwise(noons) if a.utcoffset() != b.utcoffset()), day)


@given(cycle=cycles, moment=moments)
@example(cycle=BillingCycle("America/St_Johns"), moment=_at("2009-11-01T00:30-02:30"))
@example(cycle=BillingCycle("Pacific/Apia", 30), moment=_at("2011-12-31T00:00+14:00"))
def test_a_second_is_in_its_period_which_adjoins_those_around_it(
    cycle: BillingCycle, moment: int
) -> None:
    before, present, after = periods_around(cycle, moment)
    assert moment in present
    assert before.end == present.start
    assert present.end == after.start
    assert (before, after) == (period_before(cycle, present), period_after(cycle, present))


@given(cycle=cycles, moment=moments)
def test_each_second_of_a_period_has_that_period(cycle: BillingCycle, moment: int) -> None:
    period = period_of(cycle, moment)
    assert period_of(cycle, period.start) == period
    assert period_of(cycle, period.end - 1) == period


@given(cycle=cycles, moment=moments, count=st.integers(1, 40))
def test_there_are_twelve_periods_a_year_on_whole_minutes_and_back_is_the_way_forth(
    cycle: BillingCycle, moment: int, count: int
) -> None:
    first = period = period_of(cycle, moment)
    for _ in range(count):
        assert period.start % 60 == 0
        assert 27 * DAY < period.end - period.start < 33 * DAY
        period = period_after(cycle, period)
    start, end = (date_of(each.start + DAY // 2, cycle.zone) for each in (first, period))
    assert abs((end - start).days - count * 365.2425 / 12) < 5
    for _ in range(count):
        period = period_before(cycle, period)
    assert period == first


@pytest.mark.parametrize("zone", ["Africa/Monrovia", "America/Toronto", "Asia/Manila", "UTC"])
@pytest.mark.parametrize("anchor_day", [1, 31])
def test_periods_adjoin_from_1840_on_whatever_the_offset(zone: str, anchor_day: int) -> None:
    cycle = BillingCycle(zone, anchor_day)
    period, ends = period_of(cycle, _at("1840-01-01T00:00Z")), _at("1980-01-01T00:00Z")
    while period.end < ends:
        after = period_after(cycle, period)
        assert after.start == period.end
        assert after.end > after.start
        period = after


@given(moment=moments)
def test_calendar_months_in_utc_are_the_months_an_account_has_by_default(moment: int) -> None:
    assert BillingCycle() == BillingCycle.calendar_months("UTC")
    assert period_of(BillingCycle(), moment) == month_of(moment)
    assert periods_around(BillingCycle(), moment) == around(moment)


def test_seconds_before_1970_have_periods_too() -> None:
    assert period_of(BillingCycle("America/New_York"), -1) == Period(
        _at("1969-12-01T00:00-05:00"), _at("1970-01-01T00:00-05:00")
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "europe/paris",
        "Europe",
        "../Europe/Paris",
        "/Europe/Paris",
        "right/Europe/Paris",
        "posix/Europe/Paris",
        "localtime",
        "Factory",
        "+02:00",
        "Europe/Paris\0",
        "Zürich",
        "x" * 5000,
    ],
)
def test_a_name_that_is_no_time_zone_is_refused_and_named(name: str) -> None:
    with pytest.raises(UnknownTimeZone) as refused:
        BillingCycle(name)
    assert refused.value.zone == name
    assert repr(name[:64]) in str(refused.value)
    assert len(str(refused.value)) < 300
    with pytest.raises(UnknownTimeZone):
        time_zone(name)


@pytest.mark.parametrize("day", [-1, 0, 32])
def test_a_day_that_no_month_has_is_no_anchor(day: int) -> None:
    with pytest.raises(ValueError, match=rf"from 1 to 31, not {day}"):
        BillingCycle("UTC", day)


def test_a_cycle_that_is_read_is_checked_too() -> None:
    text = b'{"zone":"Pacific/Auckland","anchor_day":31}'
    assert msgspec.json.decode(text, type=BillingCycle) == BillingCycle("Pacific/Auckland", 31)
    with pytest.raises(msgspec.ValidationError, match="no IANA time zone"):
        msgspec.json.decode(text.replace(b"Auckland", b"Atlantis"), type=BillingCycle)


def test_a_date_is_the_places_own() -> None:
    moment = int(datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp())
    assert date_of(moment, "Pacific/Auckland") == date(2027, 1, 1)
    assert date_of(moment, "America/New_York") == date(2026, 12, 31)
