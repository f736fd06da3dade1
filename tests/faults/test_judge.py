"""The judge finds what it is there to find."""

from uuid import UUID, uuid4

from minute_meter.ends import End
from tests.faults.alerts import Noted
from tests.faults.book import Book
from tests.faults.judge import Bill, Caps, Verdict, judge

STARTED = 1_800_000_000


def book(*, seconds: int = 10, user: str = "ada", abandoned: bool = False) -> Book:
    """A session of acme with so many seconds recorded."""
    made = Book(uuid4(), "acme", user, abandoned=abandoned)
    made.recorded.update(range(STARTED, STARTED + seconds))
    made.end = None if abandoned else End("stopped", 1000, seconds, confirmed=True, announced=True)
    return made


def billed(books: list[Book], **changes: object) -> Bill:
    """A bill that has all that was recorded, but for the changes."""
    seconds: dict[UUID, set[int]] = {each.session_id: set(each.recorded) for each in books}
    total = sum(len(each) for each in seconds.values())
    return Bill(**{"billed": seconds, "ledger": {"acme": total}, **changes})  # type: ignore[arg-type]


def judged(books: list[Book], caps: Caps | None = None, **changes: object) -> Verdict:
    return judge(books, billed(books, **changes), caps)


def test_a_bill_that_is_right_is_found_right() -> None:
    verdict = judged([book(), book(seconds=3)])
    assert verdict.good
    assert (verdict.recorded, verdict.counted, verdict.lost, verdict.twice) == (13, 13, 0, 0)


def test_one_second_that_is_missing_is_lost_though_another_stands_for_it() -> None:
    one = book()
    shifted = (one.recorded - {STARTED + 4}) | {STARTED + 99}
    verdict = judged([one], billed={one.session_id: shifted})
    assert (verdict.lost, verdict.twice) == (1, 1)
    assert len(verdict.findings) == 2


def test_a_refused_second_may_be_missing_and_must_not_be_billed() -> None:
    one = book()
    one.refuse("second_too_late", [STARTED, STARTED + 500])
    kept = one.recorded - {STARTED}
    right = judged([one], billed={one.session_id: kept}, ledger={"acme": 9})
    assert right.good
    assert right.refused["second_too_late"] == 1
    assert judged([one]).twice == 1


def test_a_second_held_at_the_end_after_it_was_called_too_early_may_be_billed_or_not() -> None:
    one = book()
    one.doubtful = {STARTED + 9}
    assert judged([one]).good
    without = one.recorded - one.doubtful
    assert judged([one], billed={one.session_id: without}, ledger={"acme": 9}).good


def test_seconds_may_be_missing_where_a_limit_is_used_up_and_only_there() -> None:
    one, other = book(), book(user="bob")
    seconds = {one.session_id: set(one.recorded), other.session_id: set(list(other.recorded)[:5])}
    facts: dict[str, object] = {"billed": seconds, "ledger": {"acme": 15}}
    assert judged([one, other], Caps({"acme": 15}), **facts).good
    assert judged([one, other], Caps(members={("acme", "bob"): 5}), **facts).good
    assert judged([one, other], Caps({"acme": 16}), **facts).lost == 5
    assert judged([one, other], Caps(members={("acme", "ada"): 10}), **facts).lost == 5


def test_what_vanished_with_its_recorder_may_have_used_up_a_limit() -> None:
    one, gone = book(), book(abandoned=True)
    facts: dict[str, object] = {"billed": {one.session_id: set()}, "ledger": {"acme": 0}}
    assert judged([one, gone], Caps({"acme": 10}), **facts).good
    assert judged([one, gone], Caps({"acme": 11}), **facts).lost == 10


def test_no_limit_may_be_passed() -> None:
    assert judged([book(), book()], Caps({"acme": 19})).over_limit == 1
    assert judged([book(), book()], Caps(members={("acme", "ada"): 18})).over_limit == 2


def test_a_recorder_that_vanished_is_owed_what_it_was_told_is_durable() -> None:
    one = book(abandoned=True)
    one.durable = set(list(one.recorded)[:6])
    enough = judged([one], billed={one.session_id: one.durable}, ledger={"acme": 6})
    assert enough.good
    assert enough.refused["never_confirmed"] == 4
    fewer = judged([one], billed={one.session_id: set()}, ledger={"acme": 0})
    assert fewer.lost == 6


def test_a_figure_of_the_ledger_has_to_be_that_of_the_rows() -> None:
    assert judged([book()], ledger={"acme": 12}).twice == 2
    assert not judged([book()], ledger={"acme": 9}).good
    assert not judged([book()], ledger_members={("acme", "ada"): 9}).good


def test_a_session_left_live_and_a_wrong_figure_are_findings() -> None:
    one = book()
    assert not judged([one], still_live=[one.session_id]).good
    assert judged([one], wrong_figures=["a month differs"]).findings == ["a month differs"]


def noted(*marks: tuple[str, int], user: str | None = None) -> list[Noted]:
    """Alerts of acme."""
    return [Noted("acme", user, STARTED, kind, value) for kind, value in marks]


PERCENT_70, PERCENT_90, PERCENT_100 = [("percent", value) for value in (70, 90, 100)]


def test_each_threshold_that_the_rows_passed_has_one_alert() -> None:
    caps = Caps({"acme": 10})
    all_of_them = noted(PERCENT_70, PERCENT_90, PERCENT_100)
    assert judged([book()], caps, alerts=all_of_them).good
    assert not judged([book()], caps, alerts=all_of_them[:2]).good
    assert not judged([book()], caps, alerts=[*all_of_them, all_of_them[0]]).good
    assert judged([book(seconds=6)], caps, alerts=[]).good


def test_an_alert_that_the_rows_do_not_justify_is_found() -> None:
    assert not judged([book(seconds=6)], Caps({"acme": 10}), alerts=noted(PERCENT_70)).good
    assert not judged([book()], alerts=noted(PERCENT_70)).good
    caps = Caps({"acme": 10})
    both = noted(PERCENT_70, PERCENT_90, PERCENT_100, ("percent", 50))
    assert not judged([book()], caps, alerts=both).good


def test_minutes_remaining_and_members_have_alerts_of_their_own() -> None:
    caps = Caps(members={("acme", "ada"): 100})
    late = noted(("remaining_minutes", 1), user="ada")
    assert judged([book(seconds=40)], caps, alerts=late).good
    assert not judged([book(seconds=40)], caps, alerts=[]).good
    assert judged([book(seconds=39)], caps, alerts=[]).good


def test_who_was_taken_over_is_owed_what_was_called_durable() -> None:
    one = book()
    one.superseded = True
    one.durable = set(list(one.recorded)[:6])
    assert judged([one], billed={one.session_id: one.durable}, ledger={"acme": 6}).good
    assert judged([one], billed={one.session_id: set()}, ledger={"acme": 0}).lost == 6
