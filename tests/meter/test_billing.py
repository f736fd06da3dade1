"""Billing increments: from exact seconds to billed ones, and to minutes for people."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meter.billing import (
    BadIncrement,
    BillingRule,
    Increment,
    Rounding,
    Session,
    remaining_minutes,
    used_minutes,
)

increments = st.builds(Increment, st.integers(1, 200), st.integers(1, 200))
seconds = st.integers(0, 10_000)


@pytest.mark.parametrize(
    ("notation", "exact_to_billed"),
    [
        ("1/1", {0: 0, 1: 1, 59: 59, 60: 60, 61: 61}),
        ("6/6", {0: 0, 1: 6, 6: 6, 7: 12, 60: 60, 61: 66}),
        ("60/60", {0: 0, 1: 60, 59: 60, 60: 60, 61: 120, 120: 120, 121: 180}),
        ("60/1", {0: 0, 1: 60, 60: 60, 61: 61, 119: 119}),
        ("30/6", {0: 0, 1: 30, 30: 30, 31: 36, 36: 36, 37: 42}),
        ("1/60", {0: 0, 1: 1, 2: 61, 61: 61, 62: 121}),
    ],
)
def test_seconds_are_billed_as_the_notation_says(
    notation: str, exact_to_billed: dict[int, int]
) -> None:
    increment = Increment.parse(notation)
    assert {exact: increment.billed_seconds(exact) for exact in exact_to_billed} == exact_to_billed


@given(increment=increments, exact=seconds.filter(bool))
def test_what_is_billed_is_the_first_step_at_or_above_the_exact_seconds(
    increment: Increment, exact: int
) -> None:
    step = increment.initial
    while step < exact:
        step += increment.subsequent
    assert increment.billed_seconds(exact) == step


@given(exact=st.integers(0, 2**60))
@example(exact=60 * 2**53 + 61)
def test_seconds_are_billed_exactly_however_many_they_are(exact: int) -> None:
    billed = Increment(60, 60).billed_seconds(exact)
    assert billed % 60 == 0
    assert 0 <= billed - exact < 60


@given(increment=increments, parts=st.lists(seconds, max_size=5))
def test_a_session_over_several_periods_is_billed_in_all_what_it_would_be_in_one(
    increment: Increment, parts: list[int]
) -> None:
    billed, earlier = 0, 0
    for part in parts:
        billed += increment.billed_seconds(part, earlier)
        earlier += part
    assert billed == increment.billed_seconds(sum(parts))


def test_a_minute_begun_in_one_period_is_not_billed_again_in_the_next() -> None:
    increment = Increment(60, 60)
    assert increment.billed_seconds(30) == 60
    assert increment.billed_seconds(30, earlier=30) == 0
    assert increment.billed_seconds(31, earlier=30) == 60


@pytest.mark.parametrize(("exact", "earlier"), [(-1, 0), (0, -1), (-5, 10)])
def test_negative_seconds_are_refused(exact: int, earlier: int) -> None:
    with pytest.raises(ValueError, match="no seconds to bill"):
        Increment(60, 60).billed_seconds(exact, earlier)


@given(increment=increments)
def test_an_increment_is_read_as_it_is_written(increment: Increment) -> None:
    assert Increment.parse(str(increment)) == increment


def test_an_increment_is_a_day_at_most() -> None:
    assert Increment.parse("86400/86400") == Increment(86_400, 86_400)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "60",
        "60/",
        "/60",
        "60/60/60",
        "0/1",
        "1/0",
        "-60/60",
        "60/-1",
        "+60/60",
        "60 / 60",
        " 60/60",
        "60/60\n",
        "06/06",
        "6.0/6",
        "6e1/60",
        "1_0/10",
        "0x6/6",
        "86401/1",
        "1/86401",
        "9" * 5000 + "/1",
        "٦٠/٦٠",
        "\uff16\uff10/\uff16\uff10",
        "6²/60",
        "60\u221560",
        "sixty/sixty",
    ],
)
def test_nonsense_is_no_increment_and_is_named(text: str) -> None:
    with pytest.raises(BadIncrement) as refused:
        Increment.parse(text)
    assert refused.value.text == text
    assert repr(text[:64]) in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(("initial", "subsequent"), [(0, 1), (1, 0), (-1, 1), (1, 86_401)])
def test_an_increment_cannot_be_made_wrong_either(initial: int, subsequent: int) -> None:
    with pytest.raises(BadIncrement, match=f"{initial}/{subsequent}"):
        Increment(initial, subsequent)
    with pytest.raises(msgspec.ValidationError, match="no billing increment"):
        msgspec.convert({"initial": initial, "subsequent": subsequent}, Increment)


def test_by_default_seconds_are_summed_up_and_then_rounded_up_to_whole_minutes() -> None:
    assert BillingRule().billed_seconds([Session(10), Session(20), Session(31)]) == 120
    assert BillingRule() == BillingRule(Increment.parse("60/60"), Rounding.PERIOD)


def test_per_session_each_session_is_rounded_up_before_they_are_summed() -> None:
    rule = BillingRule(Increment.parse("60/60"), Rounding.SESSION)
    assert rule.billed_seconds([Session(10), Session(20), Session(61), Session(0)]) == 240


def test_per_session_a_session_goes_on_where_the_period_before_left_it() -> None:
    rule = BillingRule(Increment.parse("60/1"), Rounding.SESSION)
    assert rule.billed_seconds([Session(10, earlier=20), Session(50, earlier=20), Session(1)]) == 70


@pytest.mark.parametrize("rounding", Rounding)
def test_a_period_without_seconds_is_billed_nothing(rounding: Rounding) -> None:
    rule = BillingRule(Increment.parse("60/60"), rounding)
    assert rule.billed_seconds([]) == 0
    assert rule.billed_seconds([Session(0), Session(0, earlier=7)]) == 0


@given(increment=increments, parts=st.lists(seconds, max_size=8))
def test_rounding_never_loses_a_second_and_rounding_each_session_adds_less_than_a_step_each(
    increment: Increment, parts: list[int]
) -> None:
    sessions = [Session(part) for part in parts]
    for rounding, roundings in ((Rounding.PERIOD, 1), (Rounding.SESSION, len(parts))):
        added = BillingRule(increment, rounding).billed_seconds(sessions) - sum(parts)
        assert 0 <= added <= max(increment.initial, increment.subsequent) * roundings


@pytest.mark.parametrize(
    ("exact", "used", "remaining"), [(0, 0, 0), (1, 1, 0), (59, 1, 0), (60, 1, 1), (61, 2, 1)]
)
def test_used_minutes_are_rounded_up_and_remaining_ones_down(
    exact: int, used: int, remaining: int
) -> None:
    assert used_minutes(exact) == used
    assert remaining_minutes(exact) == remaining


@given(limit=st.integers(0, 10_000), data=st.data())
def test_used_and_remaining_minutes_add_up_to_a_limit_of_whole_minutes(
    limit: int, data: st.DataObject
) -> None:
    used = data.draw(st.integers(0, limit * 60))
    assert used_minutes(used) + remaining_minutes(limit * 60 - used) == limit
