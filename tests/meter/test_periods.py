"""Calendar months in UTC as billing periods."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from meter.periods import Period, around, month_of, month_start

moments = st.integers(0, 4_102_444_800)  # to the year 2100


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_the_last_second_of_a_year_is_in_december_and_the_next_one_in_january() -> None:
    december = Period(_at("2026-12-01"), _at("2027-01-01"))
    january = Period(_at("2027-01-01"), _at("2027-02-01"))
    assert month_of(_at("2026-12-31T23:59:59")) == december
    assert month_of(_at("2027-01-01T00:00:00")) == january


def test_february_has_29_days_in_a_leap_year_and_28_otherwise() -> None:
    leap, common = month_of(_at("2028-02-10")), month_of(_at("2027-02-10"))
    assert leap.end - leap.start == 29 * 86_400
    assert common.end - common.start == 28 * 86_400
    assert _at("2028-02-29T23:59:59") in leap
    assert _at("2028-03-01") not in leap


def test_a_century_is_no_leap_year_unless_400_divides_it() -> None:
    assert month_of(_at("2100-02-10")).end == _at("2100-03-01")
    assert _at("2100-03-01") - _at("2100-02-01") == 28 * 86_400


def test_a_period_holds_its_start_and_not_its_end() -> None:
    period = Period(10, 20)
    assert [second in period for second in (9, 10, 19, 20)] == [False, True, True, False]


def test_months_outside_a_year_carry_over() -> None:
    assert month_start(2026, 13) == _at("2027-01-01")
    assert month_start(2026, 0) == _at("2025-12-01")


@given(moment=moments)
def test_a_second_is_in_its_month(moment: int) -> None:
    assert moment in month_of(moment)


@given(moment=moments.filter(lambda moment: moment > 40 * 86_400))
def test_the_periods_around_a_second_adjoin_and_the_second_is_in_the_middle_one(
    moment: int,
) -> None:
    before, present, after = around(moment)
    assert before.end == present.start
    assert present.end == after.start
    assert moment in present
