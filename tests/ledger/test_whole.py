"""Sessions whose seconds come as a number: all of them count, or nothing is written."""

import pytest

from meter.ledger.types import Minute, SessionKey
from meter.ledger.whole import Recorded, RecordStatus, WholeSession
from meter.periods import month_of, month_start
from meter.terms import Terms
from tests.ledger.machine import RULES
from tests.ledger.test_rules import ANN, Scene, scene

__all__ = ["scene"]


def record(scene: Scene, seconds: int, key: SessionKey = ANN) -> Recorded:
    answer = scene.world.record(WholeSession(key, "ann", "tracked", seconds))
    scene.world.assert_same_state()
    return answer


def test_a_session_is_made_counted_and_ended_in_one_call(scene: Scene) -> None:
    scene.seed("ann")
    answer = record(scene, 130)
    assert answer.status is RecordStatus.RECORDED
    assert answer.session is not None
    state = answer.session
    assert (state.seconds, state.origin, state.ended_at, state.end_reason) == (
        130,
        scene.world.now - 130,
        scene.world.now,
        "stopped",
    )
    assert scene.used() == 130
    (due,) = scene.collect()
    assert sum(minute.mask.bit_count() for minute in due.minutes) == 130
    scene.settle(scene.commit([due]))
    assert scene.collect() == ()


def test_the_same_session_again_counts_nothing(scene: Scene) -> None:
    scene.seed("ann", organization=200)
    first = record(scene, 150)
    scene.pass_seconds(7)
    again = record(scene, 150)
    assert again == first
    assert scene.used() == 150


@pytest.mark.parametrize("limited", ["organization", "member"])
def test_a_second_too_many_refuses_all(scene: Scene, limited: str) -> None:
    scene.seed("ann", **{limited: 100})
    assert record(scene, 101) == Recorded(RecordStatus.REFUSED, over_limit=1)
    assert scene.session() is None
    assert scene.used() == 0
    assert record(scene, 100).status is RecordStatus.RECORDED


def test_overage_that_the_plan_bills_has_room_and_a_grace_has_none(scene: Scene) -> None:
    terms = Terms(overage_seconds=10, grace_seconds=30, grace_is_overage=True)
    scene.postgres.set_terms("org_1", terms)
    scene.seed("ann", organization=100)
    assert record(scene, 111).over_limit == 1
    assert record(scene, 110).status is RecordStatus.RECORDED


def test_a_session_longer_than_the_plan_allows_is_refused_whole(scene: Scene) -> None:
    scene.postgres.set_terms("org_1", Terms(longest_seconds=60))
    scene.seed("ann")
    assert record(scene, 80) == Recorded(RecordStatus.REFUSED, over_duration=20)
    assert scene.used() == 0
    assert record(scene, 60).status is RecordStatus.RECORDED


def test_seconds_from_before_what_may_still_come_refuse_all(scene: Scene) -> None:
    scene.seed("ann")
    answer = record(scene, RULES.late_seconds + 3)
    assert answer == Recorded(RecordStatus.REFUSED, too_late=3)
    assert scene.session() is None


def test_each_second_has_to_have_room_in_its_own_period(scene: Scene) -> None:
    turn = month_start(2100, 3)
    scene.world.set_clock(turn - 50)
    scene.seed("ann", organization=60)
    assert record(scene, 50, SessionKey("org_1", "before")).status is RecordStatus.RECORDED
    scene.world.set_clock(turn + 30)
    scene.seed("ann")
    refused = record(scene, 45)
    assert refused == Recorded(RecordStatus.REFUSED, over_limit=5)
    assert scene.used(month_of(turn)) == 0
    assert record(scene, 40).status is RecordStatus.RECORDED
    assert (scene.used(month_of(turn - 1)), scene.used(month_of(turn))) == (60, 30)


def test_a_cold_account_is_seeded_first(scene: Scene) -> None:
    assert record(scene, 5).status is RecordStatus.ACCOUNT_COLD
    scene.seed("bob")
    assert record(scene, 5).status is RecordStatus.MEMBER_COLD
    scene.seed("ann")
    assert record(scene, 5).status is RecordStatus.RECORDED


def test_a_flusher_makes_durable_every_minute_of_it(scene: Scene) -> None:
    scene.world.set_clock(scene.world.now // 60 * 60 + 30)
    scene.seed("ann")
    record(scene, 90)
    (due,) = scene.collect()
    full = (1 << 60) - 1
    first = (scene.world.now - 90) // 60
    assert due.minutes == (Minute(first, full), Minute(first + 1, (1 << 30) - 1))
