"""Which crossings of an account's thresholds are noticed, and that each is noticed once."""

from hypothesis import given
from hypothesis import strategies as st

from meter.alerts import AlertBook
from meter.ledger.types import UNLIMITED, Standing
from meter.periods import Period
from meter.terms import DEFAULT_TERMS, Terms
from meter.thresholds import Alert, Threshold, ThresholdKind, passed

PERIOD, NEXT = Period(0, 1000), Period(1000, 2000)
TERMS = Terms(
    thresholds=(Threshold(ThresholdKind.REMAINING_MINUTES, 1), Threshold(ThresholdKind.PERCENT, 50))
)


def standing(
    used: int, limit: int = 100, period: Period = PERIOD, member: tuple[int, int] = (0, UNLIMITED)
) -> Standing:
    return Standing(period, used, limit, *member, TERMS)


def names(alerts: list[Alert]) -> list[tuple[str | None, str]]:
    return [(alert.user_id, alert.threshold.text) for alert in alerts]


def test_a_crossing_is_noticed_exactly_at_its_second_and_once() -> None:
    book = AlertBook()
    assert book.notice("org", "ann", standing(39)) == []
    assert names(book.notice("org", "ann", standing(40))) == [(None, "m1")]
    assert book.notice("org", "bob", standing(49)) == []
    assert names(book.notice("org", "bob", standing(50))) == [(None, "p50")]
    assert book.notice("org", "ann", standing(100)) == []


def test_all_that_were_passed_at_once_are_noticed_not_the_most_advanced_only() -> None:
    assert names(AlertBook().notice("org", "ann", standing(77))) == [(None, "m1"), (None, "p50")]


def test_the_members_limit_is_watched_beside_the_organizations() -> None:
    book = AlertBook()
    found = book.notice("org", "ann", standing(45, member=(10, 20)))
    assert names(found) == [(None, "m1"), ("ann", "p50")]
    assert [(each.used_seconds, each.limit_seconds) for each in found] == [(45, 100), (10, 20)]
    assert names(book.notice("org", "bob", standing(45, member=(9, 20)))) == []
    assert names(book.notice("org", "bob", standing(46, member=(10, 20)))) == [("bob", "p50")]


def test_a_new_period_and_a_raised_limit_begin_anew() -> None:
    book = AlertBook()
    book.notice("org", "ann", standing(50))
    assert names(book.notice("org", "ann", standing(50, period=NEXT))) == [
        (None, "m1"),
        (None, "p50"),
    ]
    assert book.notice("org", "ann", standing(50, 200, NEXT)) == []
    assert names(book.notice("org", "ann", standing(100, 200, NEXT))) == [(None, "p50")]


def test_what_could_not_be_noted_is_noticed_again() -> None:
    book = AlertBook()
    found = book.notice("org", "ann", standing(60))
    book.forget(found)
    assert book.notice("org", "ann", standing(60)) == found


def test_without_a_limit_nothing_is_noticed() -> None:
    assert AlertBook().notice("org", "ann", standing(10**9, UNLIMITED)) == []


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(0, 300))
def test_whatever_the_steps_each_passed_threshold_is_noticed_once(
    steps: list[int], limit: int
) -> None:
    book, used, found = AlertBook(), 0, []
    for step in steps:
        used += step
        level = Standing(PERIOD, used, limit, used, UNLIMITED, DEFAULT_TERMS)
        found += [alert.threshold for alert in book.notice("org", "ann", level)]
    last = passed(used, limit, DEFAULT_TERMS.thresholds) if steps else ()
    assert sorted(found, key=str) == sorted(last, key=str)
