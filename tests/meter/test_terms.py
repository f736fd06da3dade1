"""Terms as the ledger keeps them, and what they mean for those who are shown figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.ledger.types import UNLIMITED, Standing
from meter.periods import Period
from meter.terms import DEFAULT_TERMS, Terms, parse_terms
from meter.thresholds import NOTHING_TOLD, Threshold, ThresholdKind
from meter.usage import is_exhausted, usage_of, warning_of

SOFT = Terms(overage_seconds=UNLIMITED)
PERIOD = Period(0, 2_678_400)

bounds = st.one_of(st.just(UNLIMITED), st.integers(0, 10**9))
thresholds = st.lists(
    st.builds(Threshold, st.sampled_from(ThresholdKind), st.integers(1, 1000)), max_size=6
).map(tuple)


def standing(
    used: int, limit: int, terms: Terms = DEFAULT_TERMS, member: tuple[int, int] = (0, UNLIMITED)
) -> Standing:
    return Standing(PERIOD, used, limit, *member, terms)


@given(
    st.builds(
        Terms,
        overage_seconds=bounds,
        most_sessions=bounds,
        longest_seconds=bounds,
        grace_seconds=st.one_of(st.none(), st.integers(0, 3600)),
        grace_is_overage=st.booleans(),
        thresholds=thresholds,
    )
)
def test_terms_come_back_from_their_text(terms: Terms) -> None:
    assert parse_terms(terms.text) == terms
    assert parse_terms(terms.text.encode()) == terms


def test_the_defaults_are_an_empty_text() -> None:
    assert DEFAULT_TERMS.text == ""
    assert parse_terms(b"") is DEFAULT_TERMS


def test_a_grace_of_nothing_is_not_the_gateways() -> None:
    assert Terms(grace_seconds=0).grace(10) == 0
    assert DEFAULT_TERMS.grace(10) == 10
    assert parse_terms(Terms(grace_seconds=0).text).grace(10) == 0


@pytest.mark.parametrize(
    ("used", "terms", "shown"),
    [
        (9, SOFT, (9, 0, 1)),
        (10, SOFT, (10, 0, 0)),
        (11, SOFT, (10, 1, 0)),
        (13, Terms(grace_seconds=3, grace_is_overage=True), (10, 3, 0)),
        # A limit that was lowered below what is used makes no overage.
        (13, DEFAULT_TERMS, (13, 0, 0)),
    ],
)
def test_overage_is_shown_apart_from_what_is_used_of_the_limit(
    used: int, terms: Terms, shown: tuple[int, int, int]
) -> None:
    usage = usage_of(standing(used, 10, terms))
    assert (usage.used_seconds, usage.overage_seconds, usage.remaining_seconds) == shown


@pytest.mark.parametrize(
    ("used", "terms", "exhausted"),
    [
        (9, DEFAULT_TERMS, False),
        (10, DEFAULT_TERMS, True),
        (10, SOFT, False),
        (10**6, SOFT, False),
        (14, Terms(overage_seconds=5), False),
        (15, Terms(overage_seconds=5), True),
        (10, Terms(grace_seconds=3, grace_is_overage=True), True),
    ],
)
def test_a_session_is_stopped_where_nothing_more_counts(
    used: int, terms: Terms, exhausted: bool
) -> None:
    assert is_exhausted(standing(used, 10, terms)) is exhausted


def test_a_members_limit_stops_them_in_spite_of_overage() -> None:
    assert is_exhausted(standing(10, 10, SOFT, member=(7, 7)))


def test_in_overage_the_members_limit_is_the_one_that_binds() -> None:
    before = usage_of(standing(9, 10, SOFT, member=(5, 20)))
    assert (before.scope, before.remaining_seconds) == ("organization", 1)
    past = usage_of(standing(12, 10, SOFT, member=(8, 20)))
    assert (past.scope, past.remaining_seconds, past.overage_seconds) == ("member", 12, 2)
    near = usage_of(standing(12, 10, Terms(overage_seconds=4), member=(8, 20)))
    assert (near.scope, near.overage_seconds) == ("organization", 2)


def test_a_plans_thresholds_warn_also_past_the_limit() -> None:
    terms = Terms(overage_seconds=UNLIMITED, thresholds=(Threshold(ThresholdKind.PERCENT, 120),))
    warning, told = warning_of(standing(119, 100, terms), NOTHING_TOLD)
    assert warning is None
    warning, told = warning_of(standing(120, 100, terms), told)
    assert warning is not None
    assert (warning.kind, warning.value, warning.usage.overage_seconds) == ("percent", 120, 20)
    assert warning_of(standing(150, 100, terms), told)[0] is None
