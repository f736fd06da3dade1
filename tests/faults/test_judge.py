"""The judge finds what it is there to find."""

from typing import Any
from uuid import UUID, uuid4

from minute_meter.ends import End
from tests.faults.alerts import Noted
from tests.faults.book import Book
from tests.faults.judge import Bill, Caps, Verdict, judge
from tests.faults.losses import Losses

STARTED = 1_800_000_000
VANISHED_AT = 1000.0


def book(*, seconds: int = 10, user: str = "ada", abandoned: bool = False) -> Book:
    """A session of acme with so many seconds recorded."""
    made = Book(uuid4(), "acme", user, abandoned=abandoned)
    made.vanished_at = VANISHED_AT if abandoned else None
    made.asked = not abandoned
    made.recorded.update(range(STARTED, STARTED + seconds))
    made.end = None if abandoned else End("stopped", 1000, seconds, confirmed=True, announced=True)
    return made


def billed(books: list[Book], **changes: object) -> Bill:
    """A bill that has all that was recorded, but for the changes."""
    seconds: dict[UUID, set[int]] = {each.session_id: set(each.recorded) for each in books}
    total = sum(len(each) for each in seconds.values())
    return Bill(**{"billed": seconds, "ledger": {"acme": total}, **changes})  # type: ignore[arg-type]


def judged(
    books: list[Book],
    caps: Caps | None = None,
    losses: Losses | None = None,
    **changes: Any,
) -> Verdict:
    return judge(books, billed(books, **changes), caps, losses)


def both_lost(began: float = VANISHED_AT + 10) -> Losses:
    """Valkey lost what it had, and a gateway was killed."""
    return Losses(valkey=[(began, began + 1)], gateways={1: [(began, began + 1)]})


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
    one.begun_anew = [(VANISHED_AT, VANISHED_AT + 20)]
    kept = one.recorded - {STARTED}
    right = judged([one], None, both_lost(), billed={one.session_id: kept}, ledger={"acme": 9})
    assert right.good
    assert right.refused["second_too_late"] == 1
    assert judged([one]).twice == 1


def test_a_second_held_at_the_end_after_it_was_called_too_early_may_be_billed_or_not() -> None:
    one = book()
    one.doubtful, one.ahead = {STARTED + 9}, {STARTED + 9: 3.0}
    assert judged([one]).good
    without = one.recorded - one.doubtful
    assert judged([one], billed={one.session_id: without}, ledger={"acme": 9}).good


def test_seconds_may_be_missing_where_a_limit_is_used_up_and_only_there() -> None:
    one, other = book(), book(user="bob")
    other.stop_reason = "limit_reached"
    seconds = {one.session_id: set(one.recorded), other.session_id: set(list(other.recorded)[:5])}
    facts: dict[str, Any] = {"billed": seconds, "ledger": {"acme": 15}}
    assert judged([one, other], Caps({"acme": 15}), **facts).good
    assert judged([one, other], Caps(members={("acme", "bob"): 5}), **facts).good
    assert judged([one, other], Caps({"acme": 16}), **facts).lost == 5
    assert judged([one, other], Caps(members={("acme", "ada"): 10}), **facts).lost == 5


def test_what_vanished_with_its_recorder_may_have_used_up_a_limit() -> None:
    one, gone = book(), book(abandoned=True)
    one.stop_reason, gone.sent = "limit_reached", set(gone.recorded)
    facts: dict[str, Any] = {"billed": {one.session_id: set()}, "ledger": {"acme": 0}}
    assert judged([one, gone], Caps({"acme": 10}), both_lost(), **facts).good
    assert judged([one, gone], Caps({"acme": 11}), both_lost(), **facts).lost == 10
    # What it never sent was never counted, and what nobody lost is in the rows.
    assert judged([one, gone], Caps({"acme": 10}), **facts).lost == 10
    gone.sent.clear()
    assert judged([one, gone], Caps({"acme": 10}), both_lost(), **facts).lost == 10


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


def ended(reason: str, code: int, *, asked: bool = True) -> Book:
    """A session that ended so, with all its seconds billed."""
    one = book()
    one.asked, one.end = asked, End(reason, code, 10, confirmed=False, announced=asked)
    one.ended_at = VANISHED_AT
    return one


def test_who_was_taken_over_is_owed_all_and_its_end_is_a_finding() -> None:
    one = ended("taken_over", 4502)
    one.counted = set(one.recorded)
    assert judged([one], billed={one.session_id: set()}, ledger={"acme": 0}).lost == 10
    assert len(judged([one]).findings) == 1


def test_an_end_that_nobody_asked_for_is_a_finding() -> None:
    assert judged([ended("stopped", 1000)]).good
    assert not judged([ended("stopped", 1000, asked=False)]).good
    assert not judged([ended("session_ended", 4501, asked=False)]).good
    assert not judged([ended("session_ended", 4501)]).good
    assert not judged([ended("lost", 4501)]).good
    assert not judged([ended("max_duration", 1000)]).good
    none = book()
    none.end = None
    assert not judged([none]).good


def test_only_an_account_with_a_limit_ends_sessions_for_it() -> None:
    assert not judged([ended("limit_reached", 4500)]).good
    assert judged([ended("limit_reached", 4500)], Caps({"acme": 10})).good
    assert judged([ended("limit_reached", 4500)], Caps(members={("acme", "ada"): 10})).good
    assert not judged([ended("limit_reached", 4500)], Caps(members={("acme", "bob"): 10})).good


def test_only_an_operators_stop_ends_a_session_as_one() -> None:
    one = ended("admin", 4503, asked=False)
    assert not judged([one]).good
    one.operator = True
    assert judged([one]).good


def test_a_session_never_starts_only_where_its_connection_was_kept_from_it() -> None:
    one, delayed = ended("no_start", 4508), Losses(front=[(VANISHED_AT - 12, VANISHED_AT - 2)])
    assert not judged([one], None, delayed).good  # it recorded something
    one.recorded.clear()
    assert judged([one], None, delayed).good
    assert not judged([one]).good
    assert not judged([one], None, Losses(front=[(0.0, VANISHED_AT - 60)])).good


def test_a_used_up_limit_excuses_no_durable_second() -> None:
    one = book()
    one.stop_reason, one.durable = "limit_reached", {STARTED, STARTED + 1}
    one.durable_seconds = 9  # one of those that are missing was refused by the limit
    kept = one.recorded - {STARTED, STARTED + 9}
    verdict = judged([one], Caps({"acme": 8}), billed={one.session_id: kept}, ledger={"acme": 8})
    assert verdict.lost == 1
    assert verdict.refused["limit_reached"] == 1


def test_who_was_not_told_of_a_limit_lacks_only_its_last_seconds() -> None:
    one = book(seconds=60)
    caps, ledger = Caps({"acme": 58}), {"acme": 58}

    def lost(*seconds: int) -> int:
        kept = one.recorded - {STARTED + second for second in seconds}
        return judged([one], caps, billed={one.session_id: kept}, ledger=ledger).lost

    assert lost(58, 59) == 0
    assert lost(20, 59) == 1
    # It was told of fewer seconds than it recorded: which, the limit decided.
    one.end = End("stopped", 1000, 58, confirmed=True, announced=True)
    assert lost(20, 21) == 0
    one.end = End("stopped", 1000, 59, confirmed=True, announced=True)
    assert lost(20, 21) == 2


def test_who_comes_back_after_a_limit_ended_the_session_lacks_what_came_unanswered() -> None:
    one = book(seconds=60)
    one.end = End("session_ended", 4501, 12, confirmed=False, announced=False)
    one.heard_at, one.ended_at = VANISHED_AT - 30, VANISHED_AT
    bill: dict[str, Any] = {"ledger": {"acme": 20}}

    def found(kept: set[int], cap: int) -> int:
        return judged([one], Caps({"acme": cap}), billed={one.session_id: kept}, **bill).lost

    assert found(set(range(STARTED, STARTED + 20)), 20) == 0
    assert found(set(range(STARTED + 1, STARTED + 21)), 20) == 1
    assert found(set(range(STARTED, STARTED + 20)), 21) == 40
    assert judged([one], Caps({"acme": 60})).good
    assert not judged([one], Caps({"acme": 61})).good


def test_a_durable_second_cannot_be_refused_and_only_some_codes_refuse_any() -> None:
    one = book()
    one.durable = {STARTED}
    one.refuse("second_too_late", [STARTED])
    one.refuse("overloaded", [STARTED + 1])
    kept = one.recorded - {STARTED, STARTED + 1}
    assert judged([one], billed={one.session_id: kept}, ledger={"acme": 8}).lost == 2


def test_seconds_are_too_late_only_where_valkey_lost_a_session_that_began_anew() -> None:
    one = book()
    one.refuse("second_too_late", [STARTED])
    facts: dict[str, Any] = {
        "billed": {one.session_id: one.recorded - {STARTED}},
        "ledger": {"acme": 9},
    }
    elsewhen, then = Losses(valkey=[(0.0, 1.0)]), Losses(valkey=[(505.0, 506.0)])
    assert not judged([one], **facts).good
    assert not judged([one], None, then, **facts).good  # it never began anew
    one.begun_anew = [(500.0, 510.0)]
    assert judged([one], None, then, **facts).good
    assert not judged([one], None, elsewhen, **facts).good
    assert not judged([one], **facts).good


def test_a_second_held_at_the_end_that_was_never_ahead_of_the_servers_clock_is_owed() -> None:
    one = book()
    one.doubtful = {STARTED + 7, STARTED + 8, STARTED + 9}
    one.ahead = {STARTED + 7: 0.0, STARTED + 8: 1.0, STARTED + 9: 3.0}
    kept = one.recorded - one.doubtful
    assert judged([one], billed={one.session_id: kept}, ledger={"acme": 7}).lost == 2


def test_a_used_up_limit_excuses_no_second_that_was_surely_counted() -> None:
    one, other = book(), book()
    one.confirmed = {STARTED + 4: 500.0}
    one.end = End("stopped", 1000, 9, confirmed=True, announced=True)
    seconds = {one.session_id: one.recorded - {STARTED + 4}, other.session_id: other.recorded}
    facts: dict[str, Any] = {"billed": seconds, "ledger": {"acme": 19}}
    assert judged([one, other], Caps({"acme": 19}), **facts).lost == 1
    # Valkey may have lost it, and others have used up the limit before it was given back.
    lost = Losses(valkey=[(520.0, 521.0)])
    assert judged([one, other], Caps({"acme": 19}), lost, **facts).good
    lost = Losses(valkey=[(600.0, 601.0)])
    assert judged([one, other], Caps({"acme": 19}), lost, **facts).lost == 1


def test_what_an_account_lacks_is_no_more_than_was_recorded_past_its_limit() -> None:
    one, other = book(), book()
    one.stop_reason = other.stop_reason = "limit_reached"
    seconds = {one.session_id: set(one.recorded), other.session_id: {STARTED}}
    facts: dict[str, Any] = {"billed": seconds, "ledger": {"acme": 11}}
    assert judged([one, other], Caps({"acme": 11}), **facts).good
    assert judged([one, other], Caps({"acme": 12}), **facts).lost == 9


def test_a_recorder_that_vanished_is_owed_no_second_of_a_clock_that_was_far_ahead() -> None:
    one = book(abandoned=True)
    far = STARTED + 3600
    one.recorded.add(far)
    one.sent = one.counted = set(one.recorded)
    facts: dict[str, Any] = {"billed": {one.session_id: one.recorded - {far}}}
    facts["ledger"] = {"acme": 10}
    assert judged([one], **facts).lost == 1
    one.doubtful, one.ahead = {far}, {far: 3600.0}
    assert judged([one], **facts).good
    one.durable = {far}
    assert judged([one], **facts).lost == 1


def test_a_doubtful_second_that_was_durable_is_owed() -> None:
    one = book()
    one.doubtful, one.durable = {STARTED + 8, STARTED + 9}, {STARTED + 8}
    one.ahead = dict.fromkeys(one.doubtful, 3.0)
    assert judged([one], billed={one.session_id: set()}, ledger={"acme": 0}).lost == 9


def test_a_recorder_that_vanished_is_owed_what_was_counted_unless_both_holders_lost_it() -> None:
    one = book(abandoned=True)
    one.counted, one.durable = {STARTED, STARTED + 1}, {STARTED}
    only_durable: dict[str, Any] = {
        "billed": {one.session_id: {STARTED}},
        "ledger": {"acme": 1},
    }
    assert judged([one], **only_durable).lost == 1
    assert judged([one], None, both_lost(), **only_durable).good
    assert judged([one], None, both_lost(VANISHED_AT + 25), **only_durable).lost == 1
    assert judged([one], None, both_lost(VANISHED_AT - 10), **only_durable).lost == 1
    one_of_them = Losses(valkey=[(VANISHED_AT, VANISHED_AT)])
    assert judged([one], None, one_of_them, **only_durable).lost == 1
    nothing: dict[str, Any] = {"billed": {}, "ledger": {"acme": 0}}
    assert judged([one], None, both_lost(), **nothing).lost == 1


def test_both_holders_have_to_lose_what_vanished_while_they_are_the_only_ones() -> None:
    def excused(
        valkey: float,
        gateways: float,
        hindered: tuple[float, float] = (0.0, 0.0),
        heard: float = VANISHED_AT,
    ) -> bool:
        losses = Losses(
            valkey=[(VANISHED_AT + valkey, VANISHED_AT + valkey + 1)],
            gateways={1: [(VANISHED_AT + gateways, VANISHED_AT + gateways + 1)]},
            hindered=[(VANISHED_AT + hindered[0], VANISHED_AT + hindered[1])],
            silenced=[(VANISHED_AT + hindered[0], VANISHED_AT + hindered[1])],
        )
        if losses.excuse(VANISHED_AT, heard, 2):
            raise AssertionError("the other gateway has it")
        return losses.excuse(VANISHED_AT, heard, 1)

    assert excused(10, 10)
    assert excused(15, 2)  # its gateway could not give it back
    assert not excused(2, 10)  # it had given it back by then
    assert excused(2, 10, (2, 9))  # unless it couldn't
    assert not excused(-4, 119)
    assert not excused(40, 2)  # Postgres has it
    assert excused(200, 2, (1, 190))  # unless nobody could find that it was silent
    assert not excused(5, -20)
    assert excused(5, -20, heard=VANISHED_AT - 20)  # it was offline meanwhile


def test_seconds_of_a_session_that_nobody_recorded_are_found() -> None:
    one = book()
    seconds = {one.session_id: set(one.recorded), uuid4(): {STARTED}}
    verdict = judged([one], billed=seconds, ledger={"acme": 10})
    assert verdict.twice == 1
    assert not verdict.good
