"""How often a session's client is told where it stands."""

from itertools import pairwise

from gateway.actions import SessionTimes
from gateway.tally import MAX_RANGES
from meter.ledger.types import CountItem
from tests.gateway.driving import Driven
from tests.gateway.memory_storage import MemoryStorage

TICK = 0.5


def acks_of(driven: Driven, seconds: float, heartbeat_every: float | None) -> list[float]:
    """Runs a session in steps of 50 ms, as the counter does; when acks came."""
    times = []
    start = driven.now
    next_tick, next_heartbeat = start + TICK, start
    while driven.now < start + seconds:
        driven.now += 0.05
        if heartbeat_every is not None and driven.now >= next_heartbeat:
            driven.hear(int(driven.now - 1000.0))
            next_heartbeat += heartbeat_every
        if driven.now >= next_tick:
            driven.tick()
            next_tick += TICK
        if driven.queued:
            times += [driven.now for sent in driven.count() if sent["type"] == "ack"]
    return times


def gaps(times: list[float]) -> list[float]:
    """Between one and the next."""
    return [later - earlier for earlier, later in pairwise(times)]


def test_a_heartbeat_a_second_gives_one_ack_in_five() -> None:
    driven = Driven()
    driven.start()
    times = acks_of(driven, 300, 1.0)
    assert len(times) in (60, 61)
    assert max(gaps(times)) <= 6.0


def test_signs_of_life_are_not_asked_for_while_heartbeats_come() -> None:
    driven = Driven()
    driven.start()
    asked = 0
    for _ in range(100):
        driven.now += 1.0
        driven.hear(int(driven.now - 1000.0))
        driven.count()
        driven.now += 0.01
        driven.tick()
        asked += driven.queued
    assert asked == 0


def test_an_ack_is_never_later_than_promised_whatever_the_rhythm() -> None:
    for every in (None, 0.3, 0.95, 1.05, 1.3, 1.9, 2.7, 4.0, 5.9, 17.0):
        for ack in (2, 6, 30):
            driven = Driven(times=SessionTimes(ack=ack))
            driven.start()
            times = acks_of(driven, 120, every)
            assert max(gaps(times)) <= ack, (every, ack)


def test_the_first_ack_comes_at_once() -> None:
    driven = Driven()
    driven.start()
    driven.hear(0)
    (ack,) = driven.count()
    assert ack["type"] == "ack"


def test_a_counted_range_is_told_at_once() -> None:
    driven = Driven()
    driven.start()
    driven.tick(10)
    driven.count()
    driven.hear(0, 5)
    assert [sent["type"] for sent in driven.count()] == ["ack"]


def test_what_became_durable_is_told_at_once() -> None:
    driven = Driven()
    driven.start()
    driven.hear(0)
    driven.count()
    driven.hear(1)
    assert driven.count() == []
    driven.ledger.flush(MemoryStorage())
    driven.hear(2)
    (ack,) = driven.count()
    assert ack["durable_through"] == 1


def test_while_the_ledger_is_away_there_are_none() -> None:
    driven = Driven()
    driven.start()
    driven.hear(0)
    for _ in range(100):
        driven.session.take()
        driven.session.not_counted()
        driven.hear(int(driven.now - 1000.0))
        assert driven.tick(1.0) == []
        assert driven.session.outbox == []
    assert driven.sent == driven.sent[:1]
    (ack,) = driven.count()
    assert ack["heartbeats"] == 101


def test_a_paused_session_looks_at_the_account_within_two_seconds() -> None:
    driven = Driven()
    driven.start()
    driven.hear(0)
    driven.count()
    driven.ledger.limit = 1
    since = driven.now
    while not any(sent["type"] == "stop" for sent in driven.sent):
        driven.tick(TICK)
        if driven.queued:
            driven.now += 0.05
            driven.count()
        assert driven.now < since + 2.0


def test_seconds_with_a_gap_after_each_are_counted_some_at_a_time_and_acked_as_far() -> None:
    driven = Driven()
    driven.start()
    driven.now += 2000
    for second in range(0, 1200, 2):
        driven.hear(second)
    driven.hear(5000)  # in the future
    rounds = []
    while driven.session.tally.pending:
        ranges = driven.session.take()
        assert len(ranges) <= MAX_RANGES
        reply = driven.ledger.count_now(CountItem(driven.session.key, ranges))
        rounds += [each for each in driven.answer(reply) if each["type"] == "ack"]
    assert [each["counted_through"] for each in rounds] == [510, 1022, 1198]
    assert driven.counted == set(range(0, 1200, 2))
