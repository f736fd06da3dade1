"""Limits given in hours and minutes are whole seconds, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.limits import SECONDS_A_MINUTE, SECONDS_AN_HOUR, UNLIMITED, BadLimit, limit_seconds


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("10", SECONDS_AN_HOUR, 600 * 60),
        ("600", SECONDS_A_MINUTE, 600 * 60),
        ("0.5", SECONDS_A_MINUTE, 30),
        ("1.25", SECONDS_AN_HOUR, 4500),
        ("0", SECONDS_A_MINUTE, 0),
        ("-1", SECONDS_A_MINUTE, UNLIMITED),
        ("-1.0", SECONDS_AN_HOUR, UNLIMITED),
    ],
)
def test_hours_and_minutes_are_seconds(text: str, unit: int, seconds: int) -> None:
    assert limit_seconds(text, unit) == seconds


@given(st.integers(0, 10**9))
def test_any_whole_number_of_minutes_is_exact(minutes: int) -> None:
    assert limit_seconds(str(minutes), SECONDS_A_MINUTE) == minutes * 60


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-2", "below zero"),
        ("-0.5", "below zero"),
        ("ten", "not a number"),
        ("nan", "not a number"),
        ("inf", "not a number"),
        ("", "not a number"),
        ("0.0001", "whole seconds"),
        ("0.3333333333333333333333333333333333", "whole seconds"),
        ("1e12", "more than"),
        ("1e-999999999", "decimals"),
        ("0." + "0" * 5000 + "1", "decimals"),
    ],
)
def test_what_is_no_limit_is_refused_and_said_why(text: str, why: str) -> None:
    with pytest.raises(BadLimit, match=why):
        limit_seconds(text, SECONDS_AN_HOUR)
