"""Warning thresholds: which are passed, and who is told of them."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.ledger.types import UNLIMITED
from meter.periods import Period
from meter.thresholds import (
    DEFAULT_THRESHOLDS,
    NOTHING_TOLD,
    Mark,
    Threshold,
    ThresholdKind,
    Thresholds,
    Told,
    crossed,
    marks,
    next_mark,
    passed,
    present,
    tell,
)


def minutes(value: int) -> Threshold:
    return Threshold(ThresholdKind.REMAINING_MINUTES, value)


def percent(value: int) -> Threshold:
    return Threshold(ThresholdKind.PERCENT, value)


HOUR = 3600
LIMIT = 10 * HOUR  # 70 % at 25 200, 90 % at 32 400, 10 minutes at 35 400, 5 at 35 700, 1 at 35 940
JULY, AUGUST = Period(0, 100), Period(100, 200)

plans = st.one_of(
    st.just(DEFAULT_THRESHOLDS),
    st.lists(
        st.one_of(st.builds(minutes, st.integers(0, 90)), st.builds(percent, st.integers(1, 150))),
        max_size=6,
        unique=True,
    ).map(tuple),
)
limits = st.one_of(st.integers(0, 2 * HOUR), st.integers(0, 2**50))


@st.composite
def figures(draw: st.DrawFn) -> tuple[int, int]:
    """Used seconds and a limit; more is used than that where it was lowered."""
    limit = draw(limits)
    return draw(st.one_of(st.integers(0, limit), st.integers(0, 2 * limit + 60))), limit


def test_by_default_minutes_and_percent_warn_in_the_order_in_which_they_are_passed() -> None:
    assert [(mark.used, mark.threshold) for mark in marks(LIMIT, DEFAULT_THRESHOLDS)] == [
        (25_200, percent(70)),
        (32_400, percent(90)),
        (35_400, minutes(10)),
        (35_700, minutes(5)),
        (35_940, minutes(1)),
        (36_000, percent(100)),
    ]


@given(figures=figures(), thresholds=plans, less=st.integers(0, HOUR))
def test_below_the_next_mark_nothing_more_is_passed_and_at_it_something_is(
    figures: tuple[int, int], thresholds: Thresholds, less: int
) -> None:
    used, limit = figures
    mark = next_mark(used, limit, thresholds)
    now = passed(used, limit, thresholds)
    if mark == float("inf"):
        assert passed(2**60, limit, thresholds) == now
        return
    assert set(passed(max(int(mark) - 1 - less, 0), limit, thresholds)) <= set(now)
    assert set(passed(int(mark), limit, thresholds)) > set(now)


@pytest.mark.parametrize("mark", marks(LIMIT, DEFAULT_THRESHOLDS))
def test_the_second_exactly_at_a_threshold_crosses_it_and_those_beside_it_do_not(
    mark: Mark,
) -> None:
    assert crossed(mark.used - 1, mark.used, LIMIT, DEFAULT_THRESHOLDS) == mark.threshold
    assert crossed(mark.used - 2, mark.used - 1, LIMIT, DEFAULT_THRESHOLDS) is None
    assert crossed(mark.used, mark.used + 1, LIMIT, DEFAULT_THRESHOLDS) is None


def test_a_second_that_is_counted_before_the_threshold_or_after_it_crosses_nothing() -> None:
    assert crossed(25_200, 32_399, LIMIT, DEFAULT_THRESHOLDS) is None
    assert crossed(25_200, 25_200, LIMIT, DEFAULT_THRESHOLDS) is None
    assert crossed(0, 25_199, LIMIT, DEFAULT_THRESHOLDS) is None


def test_of_several_crossed_at_once_the_most_advanced_is_meant() -> None:
    assert crossed(0, 35_500, LIMIT, DEFAULT_THRESHOLDS) == minutes(10)
    assert crossed(0, LIMIT, LIMIT, DEFAULT_THRESHOLDS) == percent(100)


def test_what_shrinks_crosses_nothing() -> None:
    assert crossed(LIMIT, 0, LIMIT, DEFAULT_THRESHOLDS) is None


@given(figures=figures(), thresholds=plans)
def test_a_threshold_is_passed_when_so_much_is_used_or_so_little_remains(
    figures: tuple[int, int], thresholds: Thresholds
) -> None:
    used, limit = figures
    expected = {
        threshold
        for threshold in thresholds
        if (
            used * 100 >= threshold.value * limit > 0
            if threshold.kind is ThresholdKind.PERCENT
            else limit - used <= threshold.value * 60 < limit
        )
    }
    assert set(passed(used, limit, thresholds)) == expected


@given(figures=figures(), thresholds=plans, more=st.integers(0, 2**50))
def test_crossed_is_the_present_one_if_the_one_before_was_another(
    figures: tuple[int, int], thresholds: Thresholds, more: int
) -> None:
    used, limit = figures
    before, after = (present(now, limit, thresholds) for now in (used, used + more))
    assert crossed(used, used + more, limit, thresholds) == (after if after != before else None)


@given(limit=limits, thresholds=plans, cuts=st.lists(st.integers(0, 3 * HOUR), max_size=6))
def test_however_the_seconds_come_each_threshold_is_crossed_by_exactly_one_count(
    limit: int, thresholds: Thresholds, cuts: list[int]
) -> None:
    counts = [0, *sorted(cuts), limit + 2 * HOUR]
    for threshold in thresholds:
        times = [crossed(old, new, limit, (threshold,)) for old, new in pairwise(counts)]
        reachable = bool(marks(limit, (threshold,))) and threshold.mark(limit) <= counts[-1]
        assert times.count(threshold) == reachable


@given(limit=limits, thresholds=plans)
def test_the_order_of_marks_is_one_whatever_the_order_of_the_settings(
    limit: int, thresholds: Thresholds
) -> None:
    found = marks(limit, thresholds)
    assert found == marks(limit, thresholds[::-1])
    assert all(a.used <= b.used for a, b in pairwise(found))


def test_percent_are_exact_where_floats_are_not() -> None:
    limit = 2**53 + 1
    assert percent(100).mark(limit) == limit
    assert present(limit - 1, limit, (percent(100),)) is None
    assert [percent(70).mark(seconds) for seconds in (10, 11)] == [7, 8]


def test_of_two_passed_in_the_same_second_minutes_tell_more_than_percent() -> None:
    limit = 100 * 60
    assert percent(90).mark(limit) == minutes(10).mark(limit)
    assert crossed(0, 5400, limit, (minutes(10), percent(90))) == minutes(10)
    assert crossed(0, 5400, limit, (percent(90), minutes(10))) == minutes(10)


def test_of_percents_passed_in_the_same_second_the_highest_is_the_most_advanced() -> None:
    assert [percent(value).mark(1) for value in (70, 90, 100)] == [1, 1, 1]
    assert present(1, 1, DEFAULT_THRESHOLDS) == percent(100)
    assert present(1, 1, DEFAULT_THRESHOLDS[::-1]) == percent(100)


@pytest.mark.parametrize("used", [0, 1, 10**9])
def test_without_a_limit_nothing_is_passed(used: int) -> None:
    assert present(used, UNLIMITED, DEFAULT_THRESHOLDS) is None
    assert crossed(0, used, UNLIMITED, DEFAULT_THRESHOLDS) is None


@pytest.mark.parametrize("used", [0, 1, 10**9])
def test_a_limit_of_nothing_has_no_thresholds_as_nothing_can_be_used(used: int) -> None:
    assert present(used, 0, (*DEFAULT_THRESHOLDS, minutes(0))) is None
    assert crossed(0, used, 0, (*DEFAULT_THRESHOLDS, minutes(0))) is None


def test_minutes_that_are_not_below_the_whole_limit_warn_of_nothing() -> None:
    only_minutes = DEFAULT_THRESHOLDS[:3]
    assert present(0, 5 * 60, only_minutes) is None
    assert present(0, 10 * 60, only_minutes) is None
    assert [mark.threshold for mark in marks(5 * 60, only_minutes)] == [minutes(1)]
    assert [mark.threshold for mark in marks(10 * 60, only_minutes)] == [minutes(5), minutes(1)]
    assert crossed(0, 1, 10 * 60 + 1, only_minutes) == minutes(10)


def test_no_minutes_remaining_is_passed_with_the_last_second() -> None:
    assert crossed(59, 60, 60, (minutes(0),)) == minutes(0)
    assert crossed(58, 59, 60, (minutes(0),)) is None


def test_a_plan_without_thresholds_warns_of_nothing() -> None:
    assert present(LIMIT, LIMIT, ()) is None
    assert crossed(0, LIMIT, LIMIT, ()) is None
    assert tell(NOTHING_TOLD, JULY, LIMIT, LIMIT, ())[0] is None


def test_a_session_that_joins_late_gets_the_present_threshold_only() -> None:
    warning, told = tell(NOTHING_TOLD, JULY, 35_500, LIMIT, DEFAULT_THRESHOLDS)
    assert warning == present(35_500, LIMIT, DEFAULT_THRESHOLDS) == minutes(10)
    assert tell(told, JULY, 35_501, LIMIT, DEFAULT_THRESHOLDS) == (None, told)


def _tellings(*asked: tuple[Period, int, int]) -> list[Threshold | None]:
    """What one session is told, asked for each period, used seconds and limit."""
    told, warnings = NOTHING_TOLD, []
    for period, used, limit in asked:
        warning, told = tell(told, period, used, limit, DEFAULT_THRESHOLDS)
        warnings.append(warning)
    return warnings


def test_a_session_over_the_whole_limit_is_told_each_threshold_once() -> None:
    warnings = _tellings(*((JULY, used, LIMIT) for used in range(LIMIT + 1)))
    assert [(used, warning) for used, warning in enumerate(warnings) if warning] == [
        (mark.used, mark.threshold) for mark in marks(LIMIT, DEFAULT_THRESHOLDS)
    ]


def test_a_new_period_warns_anew() -> None:
    assert _tellings(
        (JULY, 32_400, LIMIT), (AUGUST, 5, LIMIT), (AUGUST, 32_400, LIMIT), (AUGUST, 32_401, LIMIT)
    ) == [percent(90), None, percent(90), None]


def test_after_a_raise_a_threshold_that_was_told_is_not_told_again() -> None:
    assert _tellings(
        (JULY, 32_400, LIMIT), (JULY, 32_401, 2 * LIMIT), (JULY, 64_800, 2 * LIMIT)
    ) == [percent(90), None, None]


def test_after_a_raise_one_that_was_overtaken_is_not_told_either_but_the_next_one_is() -> None:
    assert _tellings(
        (JULY, 32_400, LIMIT),
        (JULY, 50_400, 2 * LIMIT),
        (JULY, 64_800, 2 * LIMIT),
        (JULY, 71_400, 2 * LIMIT),
    ) == [percent(90), None, None, minutes(10)]


def test_a_limit_that_is_lowered_tells_the_most_advanced_threshold_it_passes() -> None:
    assert _tellings((JULY, 26_000, LIMIT), (JULY, 26_000, 26_040), (JULY, 26_000, 20_000)) == [
        percent(70),
        minutes(1),
        percent(100),
    ]


def test_a_limit_that_is_lowered_and_raised_back_repeats_nothing() -> None:
    # 10 minutes are no threshold of the lower limit, which passes others instead.
    assert _tellings((JULY, 100, 660), (JULY, 100, 100), (JULY, 100, 660)) == [
        minutes(10),
        percent(100),
        None,
    ]


def test_a_limit_that_appears_tells_the_present_threshold_and_one_that_goes_tells_nothing() -> None:
    assert _tellings(
        (JULY, 26_000, UNLIMITED), (JULY, 26_000, LIMIT), (JULY, 26_000, UNLIMITED)
    ) == [None, percent(70), None]


asked_figures = st.lists(
    st.tuples(st.sampled_from([JULY, AUGUST]), figures()), min_size=1, max_size=12
).map(lambda asked: sorted(asked, key=lambda each: each[0]))


@given(asked=asked_figures, thresholds=plans)
def test_whatever_happens_to_limits_each_threshold_is_told_once_a_period_and_as_the_present_one(
    asked: list[tuple[Period, tuple[int, int]]], thresholds: Thresholds
) -> None:
    told, seen = NOTHING_TOLD, set()
    for period, (used, limit) in asked:
        warning, told = tell(told, period, used, limit, thresholds)
        if warning is not None:
            assert warning == present(used, limit, thresholds)
            assert (period, warning) not in seen
            seen.add((period, warning))
        now = present(used, limit, thresholds)
        assert now is None or now in told.thresholds


@given(limit=limits, thresholds=plans, data=st.data())
def test_under_one_limit_a_session_is_told_what_is_crossed_between_two_askings(
    limit: int, thresholds: Thresholds, data: st.DataObject
) -> None:
    told, old = NOTHING_TOLD, 0
    for used in sorted(data.draw(st.lists(st.integers(0, 2 * limit), max_size=8))):
        warning, told = tell(told, JULY, used, limit, thresholds)
        assert warning == crossed(old, used, limit, thresholds)
        old = used


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ThresholdKind.PERCENT, 0),
        (ThresholdKind.PERCENT, -1),
        (ThresholdKind.REMAINING_MINUTES, -1),
    ],
)
def test_a_value_that_is_always_or_never_passed_is_no_threshold(
    kind: ThresholdKind, value: int
) -> None:
    with pytest.raises(ValueError, match=f"no threshold: {value} {kind}"):
        Threshold(kind, value)
    with pytest.raises(msgspec.ValidationError, match="no threshold"):
        msgspec.convert({"kind": str(kind), "value": value}, Threshold)


def test_a_threshold_is_written_as_the_warning_that_it_is() -> None:
    assert msgspec.to_builtins(minutes(10)) == {"kind": "remaining_minutes", "value": 10}
    assert msgspec.json.decode(b'{"kind":"percent","value":70}', type=Threshold) == percent(70)


def test_what_was_told_can_be_kept_and_read_back() -> None:
    _, told = tell(NOTHING_TOLD, JULY, 35_500, LIMIT, DEFAULT_THRESHOLDS)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Told) == told
