"""Which seconds a session has counted, and what it tells of them."""

import pytest

from gateway.session import RecorderSession
from meter.ledger.types import CountItem, Rules
from tests.gateway.driving import Driven
from tests.gateway.memory_storage import MemoryStorage


def started(rules: Rules | None = None) -> Driven:
    """A session, ten minutes in, with its first ack sent."""
    driven = Driven(rules=rules)
    driven.start()
    driven.tick(600.0)
    driven.count()
    return driven


def pending(session: RecorderSession) -> tuple[tuple[int, int], ...]:
    """What waits to be counted."""
    return session.tally.pending.ranges()


def test_a_heartbeat_asks_once_to_be_counted() -> None:
    driven = started()
    driven.hear(3)
    driven.hear(4)
    assert driven.queued == 1
    assert driven.session.take() == ((3, 4),)


def test_ranges_and_any_order_and_duplicates_are_one_set() -> None:
    driven = started()
    for first, last in [(50, 60), (10, 12), (55, 70), (11, 11), (0, 0)]:
        driven.hear(first, last)
    driven.hear(12)
    assert pending(driven.session) == ((0, 0), (10, 12), (50, 70))
    driven.count()
    assert driven.counted == {0, *range(10, 13), *range(50, 71)}


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"from": 3},
        {"to": 3},
        {"from": 4, "to": 3},
        {"second": 1, "from": 1, "to": 2},
        {"second": 1, "to": 2},
        {"second": None},
    ],
)
def test_what_is_no_interval_is_a_bad_message(message: dict[str, object]) -> None:
    driven = started()
    (sent,) = driven.say(type="heartbeat", **message)
    assert (sent["code"], sent["fatal"]) == ("bad_message", False)
    assert driven.session.tally.heartbeats == 0
    assert not driven.session.tally.waiting


def test_seconds_before_the_start_are_too_late() -> None:
    driven = started()
    (sent,) = driven.hear(-5, 2)
    assert (sent["code"], sent["fatal"]) == ("second_too_late", False)
    driven.count()
    assert driven.counted == {0, 1, 2}
    (sent,) = driven.hear(-1)
    assert sent["code"] == "second_too_late"
    assert not driven.session.tally.waiting


def test_seconds_ahead_of_the_clock_are_refused_and_the_others_counted() -> None:
    driven = started()
    driven.hear(595, 700)
    sent = driven.count()
    assert sent[0]["code"] == "second_in_future"
    assert driven.counted == set(range(595, 603))
    assert sent[1]["type"] == "ack"
    assert sent[1]["counted_through"] == 602


@pytest.mark.parametrize(("first", "last"), [(2**53, 2**53), (0, 2**53), (-(2**53), 2**53)])
def test_no_number_makes_a_set_grow(first: int, last: int) -> None:
    driven = started()
    codes = [sent["code"] for sent in driven.hear(first, last)]
    assert "second_in_future" in codes
    assert len(driven.session.tally.pending) <= 86_403


@pytest.mark.parametrize("second", [2**53 + 1, -(2**53) - 1, 2**63])
def test_numbers_beyond_exactness_are_bad_messages(second: int) -> None:
    driven = started()
    (sent,) = driven.hear(second)
    assert sent["code"] == "bad_message"


def test_what_is_older_than_the_late_limit_is_refused() -> None:
    driven = started(Rules(late_seconds=100))
    driven.hear(400, 600)
    sent = driven.count()
    assert sent[0]["code"] == "second_too_late"
    assert driven.counted == set(range(500, 601))


def test_what_could_not_be_counted_is_counted_later_with_what_came_since() -> None:
    driven = started()
    driven.hear(5)
    driven.session.take()
    driven.hear(7)
    driven.session.not_counted()
    assert driven.session.tally.waiting
    driven.count()
    assert driven.counted == {5, 7}


class TestWhatIsTold:
    """`counted_through`, `durable_through` and `heartbeats`."""

    def test_counted_through_covers_what_was_counted(self) -> None:
        driven = started()
        driven.hear(0, 9)
        (ack,) = driven.count()
        assert (ack["counted_through"], ack["session_seconds"]) == (9, 10)

    def test_pauses_do_not_hold_it_up(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.hear(20, 24)
        (ack,) = driven.count()
        assert (ack["counted_through"], ack["session_seconds"]) == (24, 10)

    def test_it_does_not_cover_what_came_since(self) -> None:
        driven = started()
        driven.hear(0, 9)
        reply_is_for = driven.session.take()
        driven.hear(10)
        driven.hear(30)
        driven.session.not_counted()
        assert reply_is_for == ((0, 9),)
        driven.session.take()
        driven.hear(5)  # again, and not counted for all that the session knows
        ack = driven.answer(driven.ledger.count_now(_item(driven, (0, 10), (30, 30))))[0]
        assert ack["counted_through"] == 4

    def test_a_later_second_in_waiting_is_not_taken_for_counted(self) -> None:
        driven = started()
        driven.hear(0, 9)
        driven.session.take()
        driven.hear(500)
        (ack,) = driven.answer(driven.ledger.count_now(_item(driven, (0, 9))))
        assert ack["counted_through"] == 9

    def test_a_refused_future_second_does_not_raise_it_for_good(self) -> None:
        driven = started()
        driven.hear(0, 9)
        driven.hear(5000)
        driven.count()
        driven.hear(10, 12)
        driven.session.take()
        driven.hear(13)
        (ack,) = driven.answer(driven.ledger.count_now(_item(driven, (10, 12))))
        assert ack["counted_through"] == 12

    def test_heartbeats_counts_the_frames_that_the_ack_knows_of(self) -> None:
        driven = started()
        driven.hear(0, 5)
        driven.hear(6)
        driven.session.take()
        driven.hear(7)
        (ack,) = driven.answer(driven.ledger.count_now(_item(driven, (0, 6))))
        assert ack["heartbeats"] == 2
        driven.hear(8)
        (ack,) = driven.count()
        assert ack["heartbeats"] == 4

    def test_durable_follows_postgres_and_never_passes_counted(self) -> None:
        driven = started()
        driven.hear(0, 59)
        driven.count()
        driven.ledger.flush(_storage())
        driven.now += 6
        driven.hear(60)
        (ack,) = driven.count()
        assert (ack["counted_through"], ack["durable_through"]) == (60, 59)
        assert driven.session.tally.undurable.ranges() == ((60, 60),)
        driven.ledger.flush(_storage())
        driven.now += 6
        driven.session.take()
        driven.hear(20, 30)
        (ack,) = driven.answer(driven.ledger.count_now(_item(driven)))
        assert (ack["counted_through"], ack["durable_through"]) == (19, 19)


class TestAfterALoss:
    """The ledger lost seconds: all that is not durable is counted again."""

    def test_a_ledger_with_fewer_seconds_gets_back_what_is_not_durable(self) -> None:
        driven = started()
        driven.hear(0, 59)
        driven.count()
        driven.ledger.flush(_storage())
        driven.hear(60, 70)
        driven.count()
        entry = driven.ledger.entries[driven.session.key.session_id]
        entry.seconds = set(range(60))
        driven.now += 6
        driven.hear(71)
        (ack,) = driven.count()
        assert ack["counted_through"] == 59
        assert driven.queued == 1
        driven.count()
        assert driven.counted == set(range(72))

    def test_it_does_so_also_when_the_connection_is_over(self) -> None:
        driven = started()
        driven.hear(0, 70)
        driven.count()
        driven.ledger.entries[driven.session.key.session_id].seconds.clear()
        driven.hear(71)
        driven.session.disconnected()
        driven.count()
        assert driven.session.tally.waiting
        driven.count()
        assert driven.counted == set(range(72))
        assert driven.session.finished

    def test_refused_seconds_are_never_given_back(self) -> None:
        driven = started()
        driven.hear(590, 700)
        driven.count()
        assert driven.session.tally.undurable.ranges() == ((590, 602),)
        driven.ledger.entries[driven.session.key.session_id].seconds.clear()
        driven.tick(600.0)  # by now the clock would allow them
        driven.hear(603)
        driven.count()
        driven.count()
        assert driven.counted == set(range(590, 604))

    def test_of_a_batch_that_met_the_limit_only_what_was_counted_is_given_back(self) -> None:
        driven = started()
        driven.ledger.limit = 5
        driven.hear(0, 9)
        driven.count()
        assert driven.counted == set(range(5))
        assert driven.session.tally.undurable.ranges() == ((0, 4),)

    def test_all_of_it_is_where_it_cannot_be_told_what_was_counted(self) -> None:
        driven = started()
        driven.hear(9)
        driven.count()
        driven.ledger.limit = 3
        driven.hear(0, 5)
        driven.count()
        assert driven.counted == {0, 1, 9}
        assert driven.session.tally.undurable.ranges() == ((0, 5), (9, 9))
        driven.ledger.entries[driven.session.key.session_id].seconds.clear()
        driven.hear(10)
        driven.count()
        driven.count()
        assert len(driven.counted) == 3  # as many as the limit has room for

    def test_another_gateways_seconds_are_no_loss(self) -> None:
        driven = started()
        driven.hear(0, 9)
        driven.count()
        driven.ledger.entries[driven.session.key.session_id].seconds |= {20, 21}
        driven.hear(22)
        driven.count()
        assert not driven.session.tally.waiting


def test_who_takes_over_inherits_what_is_waiting_in_flight_and_not_durable() -> None:
    old, new = started(), Driven(owner=8)
    old.hear(0, 3)
    old.count()
    old.hear(4, 5)
    old.session.take()
    old.hear(6)
    new.ledger = old.ledger
    new.now = old.now
    new.start()
    new.session.inherit(old.session.tally)
    new.perform()
    assert new.queued == 1
    assert pending(new.session) == ((0, 6),)
    assert new.session.tally.undurable.ranges() == ((0, 3),)
    (ack,) = new.count()
    assert (ack["counted_through"], ack["heartbeats"]) == (6, 0)
    assert new.counted == set(range(7))


def _item(driven: Driven, *ranges: tuple[int, int]) -> CountItem:
    return CountItem(driven.session.key, ranges)


def _storage() -> MemoryStorage:
    return MemoryStorage()
