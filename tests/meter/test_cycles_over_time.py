"""A change of an account's billing cycle: when it comes into force, and what it leaves alone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.cycles import BEGINNING, SHORTEST_SECONDS, CycleChange, Cycles, cycles_of
from meter.periods import BillingCycle, Period, around, date_of, period_of, periods_around

DAY = 86_400
PLACES = (
    "UTC",
    "Pacific/Auckland",
    "Asia/Kathmandu",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Niue",
)


def _at(text: str) -> int:
    """Epoch seconds of an ISO time with its offset."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return int(moment.timestamp())


YEARS = (_at("2027-01-01T00:00Z"), _at("2030-01-01T00:00Z"))
moments = st.integers(*YEARS)
billing_cycles = st.builds(
    BillingCycle, st.sampled_from(PLACES), st.sampled_from((1, 2, 15, 28, 29, 30, 31))
)


@st.composite
def histories(draw: st.DrawFn) -> list[CycleChange]:
    """Changes in order: some at the beginning, some close together, some exactly as a period
    turns."""
    changes = [CycleChange(BEGINNING, draw(billing_cycles))] if draw(st.booleans()) else []
    second = YEARS[0]
    for _ in range(draw(st.integers(0, 6))):
        second += draw(st.integers(0, 40 * DAY) | st.integers(0, 3))
        if draw(st.booleans()):
            present = cycles_of(changes).period_of(second)
            second = present.end - draw(st.integers(0, 1))
        changes.append(CycleChange(second, draw(billing_cycles)))
    return changes


def _walk(cycles: Cycles, first: int, last: int) -> list[Period]:
    """All periods from that of one second to that of a later one."""
    assert first <= last
    periods = [cycles.period_of(first)]
    while last not in periods[-1]:
        periods.append(cycles.period_of(periods[-1].end))
    return periods


@given(changes=histories())
def test_periods_adjoin_and_each_second_is_in_one(changes: list[CycleChange]) -> None:
    cycles = cycles_of(changes)
    periods = _walk(cycles, YEARS[0] - 60 * DAY, YEARS[0] + 400 * DAY)
    for earlier, later in pairwise(periods):
        assert earlier.end == later.start
    for period in periods:
        seconds = (period.start, (period.start + period.end) // 2, period.end - 1)
        assert {cycles.period_of(second) for second in seconds} == {period}
        assert SHORTEST_SECONDS <= period.end - period.start <= 65 * DAY
        assert period.start % 60 == period.end % 60 == 0


@given(changes=histories(), later=billing_cycles)
def test_a_change_alters_neither_a_period_that_ended_nor_the_present_one(
    changes: list[CycleChange], later: BillingCycle
) -> None:
    before = cycles_of(changes)
    set_at = max(YEARS[0], *(change.set_at for change in changes), 0)
    for moment in (set_at, before.period_of(set_at).end - 1, before.period_of(set_at).end):
        after = cycles_of([*changes, CycleChange(moment, later)])
        present = before.period_of(moment)
        assert _walk(before, YEARS[0], moment) == _walk(after, YEARS[0], moment)
        assert after.at(present.end - 1) == before.at(present.end - 1)
        assert after.at(present.end) == later


@given(changes=histories(), moment=moments)
def test_the_last_cycle_that_was_set_holds_two_periods_later(
    changes: list[CycleChange], moment: int
) -> None:
    """However it began, its periods are at last its own."""
    cycles = cycles_of(changes)
    last = changes[-1] if changes else CycleChange(BEGINNING, BillingCycle())
    second = max(moment, last.set_at + 150 * DAY)
    assert cycles.around(second) == periods_around(last.cycle, second)


@given(changes=histories(), moment=moments)
def test_the_periods_around_a_second_adjoin_and_the_second_is_in_the_middle_one(
    changes: list[CycleChange], moment: int
) -> None:
    before, present, after = cycles_of(changes).around(moment)
    assert (before.end, present.end) == (present.start, after.start)
    assert moment in present


@given(moment=moments)
def test_without_any_change_periods_are_months_in_utc(moment: int) -> None:
    assert cycles_of([]) == Cycles()
    assert Cycles().around(moment) == around(moment)


@given(cycle=billing_cycles, moment=moments)
def test_a_cycle_set_at_the_beginning_always_held(cycle: BillingCycle, moment: int) -> None:
    cycles = cycles_of([CycleChange(BEGINNING, cycle)])
    assert cycles.period_of(moment) == period_of(cycle, moment)
    assert cycles.at(moment) == cycle


@given(cycle=billing_cycles, other=billing_cycles, moment=moments)
def test_set_back_before_its_turn_came_nothing_changed(
    cycle: BillingCycle, other: BillingCycle, moment: int
) -> None:
    changes = [
        CycleChange(BEGINNING, cycle),
        CycleChange(moment, other),
        CycleChange(period_of(cycle, moment).end - 1, cycle),
    ]
    assert cycles_of(changes) == cycles_of(changes[:1])


def test_of_several_changes_in_one_period_the_last_one_comes_into_force() -> None:
    changes = [
        CycleChange(_at("2027-05-03T10:00Z"), BillingCycle("UTC", 7)),
        CycleChange(_at("2027-05-20T10:00Z"), BillingCycle("Asia/Kathmandu", 31)),
        CycleChange(_at("2027-05-31T23:59:59Z"), BillingCycle("UTC", 15)),
    ]
    cycles = cycles_of(changes)
    assert [cycles.period_of(_at(f"2027-0{month}-10T00:00Z")) for month in (5, 6, 7)] == [
        Period(_at("2027-05-01T00:00Z"), _at("2027-06-01T00:00Z")),
        Period(_at("2027-06-01T00:00Z"), _at("2027-06-15T00:00Z")),
        Period(_at("2027-06-15T00:00Z"), _at("2027-07-15T00:00Z")),
    ]


@pytest.mark.parametrize(
    ("set_at", "start"),
    [("2027-05-31T23:59:59Z", "2027-06-01T00:00Z"), ("2027-06-01T00:00:00Z", "2027-07-01T00:00Z")],
)
def test_a_change_in_the_second_of_the_turn_is_one_of_the_new_period(
    set_at: str, start: str
) -> None:
    cycles = cycles_of([CycleChange(_at(set_at), BillingCycle("UTC", 20))])
    assert cycles.period_of(_at(start)) == Period(_at(start), _at(start) + 19 * DAY)
    assert cycles.at(_at(start) - 1) == BillingCycle()


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        # From the end of May in UTC to the end of June there: hours shorter in the east, and
        # longer in the west, where it would otherwise be a period of 4 or 11 hours first.
        ("Pacific/Auckland", "2027-07-01T00:00+12:00", -12),
        ("Asia/Kathmandu", "2027-07-01T00:00+05:45", -5.75),
        ("Australia/Lord_Howe", "2027-07-01T00:00+10:30", -10.5),
        ("America/New_York", "2027-07-01T00:00-04:00", 4),
        ("Pacific/Niue", "2027-07-01T00:00-11:00", 11),
    ],
)
def test_after_a_change_of_zone_one_month_is_some_hours_longer_or_shorter(
    zone: str, first: str, hours: float
) -> None:
    cycles = cycles_of([CycleChange(_at("2027-05-12T08:00Z"), BillingCycle(zone))])
    _, present, after = cycles.around(_at("2027-05-12T08:00Z"))
    assert present == Period(_at("2027-05-01T00:00Z"), _at("2027-06-01T00:00Z"))
    assert after == Period(_at("2027-06-01T00:00Z"), _at(first))
    assert after.end - after.start == 30 * DAY + hours * 3600


def test_29_february_is_the_turn_of_an_anchor_of_31_in_a_leap_year() -> None:
    cycles = cycles_of([CycleChange(_at("2028-01-10T00:00Z"), BillingCycle("Asia/Kathmandu", 31))])
    turns = [period.start for period in _walk(cycles, YEARS[0], _at("2028-05-01T00:00Z"))][-4:]
    assert [date_of(turn, "Asia/Kathmandu").isoformat() for turn in turns] == [
        "2028-02-01",  # 05:45 there: the end of January in UTC
        "2028-02-29",
        "2028-03-31",
        "2028-04-30",
    ]


def test_an_upgrade_in_mid_month_by_anniversary_makes_a_short_period_first() -> None:
    """Ten days of a period at the old turn's end, up to the new anniversary."""
    anchor = datetime(2027, 5, 11, tzinfo=UTC)
    set_at = int((anchor + timedelta(hours=9)).timestamp())
    cycles = cycles_of([CycleChange(set_at, BillingCycle.anniversary(anchor.date(), "UTC"))])
    lengths = [
        (period.end - period.start) // DAY
        for period in _walk(cycles, set_at, _at("2027-08-01T00:00Z"))
    ]
    assert lengths == [31, 10, 30, 31]
