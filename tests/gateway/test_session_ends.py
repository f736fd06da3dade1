"""How sessions end, and how connections do while their session goes on."""

import pytest

from gateway.actions import End, SessionTimes
from gateway.client import Phase
from meter.codes import EndReason
from meter.ledger.types import Counted, CountItem, CountStatus, OpenStatus, Rules
from tests.gateway.driving import SESSION_ID, Driven


def started(rules: Rules | None = None, times: SessionTimes | None = None) -> Driven:
    """A session, ten seconds in."""
    driven = Driven(rules=rules, times=times)
    driven.start()
    driven.tick(10.0)
    driven.count()
    return driven


class TestStop:
    """The client ends its session."""

    def test_it_is_ended_stopped_and_closed(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.count()
        assert driven.say(type="stop") == []
        assert driven.asked == []  # one last look, whether the ledger still has it all
        driven.count()
        assert driven.asked == [End(EndReason.STOPPED)]
        (stopped,) = driven.end()
        assert stopped == {
            "type": "stopped",
            "reason": "stopped",
            "session_seconds": 5,
            "durable_through": -1,
        }
        assert driven.close_code == 1000
        assert driven.session.finished

    def test_what_was_heard_before_is_counted_before(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.say(type="stop")
        driven.session.take()
        driven.session.not_counted()
        driven.perform()
        assert driven.asked == []
        driven.count()
        (stopped,) = driven.end()
        assert stopped["session_seconds"] == 5

    def test_it_is_asked_for_once(self) -> None:
        driven = started()
        driven.session.take()
        driven.say(type="stop")
        driven.say(type="stop")
        driven.answer(_counted(driven))
        assert driven.asked == []
        driven.count()
        assert driven.asked == [End(EndReason.STOPPED)]
        driven.say(type="stop")
        driven.hear(3)
        driven.tick(10.0)
        assert driven.asked == [End(EndReason.STOPPED)]
        assert driven.queued == 0

    def test_heartbeats_after_it_are_not_heard(self) -> None:
        driven = started()
        driven.say(type="stop")
        assert driven.hear(3) == []
        driven.count()
        driven.end()
        assert driven.counted == set()

    def test_a_ledger_that_lost_the_session_gets_it_back_before_the_end(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.count()
        driven.say(type="stop")
        driven.count()
        driven.asked.clear()
        driven.session.ended(None)
        driven.perform()
        assert driven.queued == 1
        assert driven.session.unfinished
        driven.ledger.entries[SESSION_ID].seconds.clear()  # as Postgres has it
        driven.count()
        assert driven.asked == []
        driven.count()
        (stopped,) = driven.end()
        assert stopped["session_seconds"] == 5

    def test_a_ledger_that_lost_seconds_gets_them_back_before_the_end(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.count()
        driven.ledger.entries[SESSION_ID].seconds.clear()
        driven.say(type="stop")
        driven.count()
        assert driven.asked == []
        driven.count()
        (stopped,) = driven.end()
        assert stopped["session_seconds"] == 5

    def test_its_own_end_is_not_taken_for_anothers(self) -> None:
        driven = started()
        driven.say(type="stop")
        driven.count()
        driven.ledger.end(SESSION_ID, EndReason.STOPPED)
        driven.session.take()
        assert driven.answer(_counted(driven)) == []
        assert driven.closed is None
        driven.end()
        assert driven.close_code == 1000

    def test_its_own_end_whose_answer_was_cut_off_is_its_own(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.say(type="stop")
        driven.count()
        driven.asked.clear()
        driven.ledger.end(SESSION_ID, EndReason.STOPPED)
        driven.session.ended(None)
        driven.perform()
        (stopped,) = driven.count()
        assert stopped == {
            "type": "stopped",
            "reason": "stopped",
            "session_seconds": 5,
            "durable_through": -1,
        }
        assert driven.close_code == 1000

    def test_a_client_that_leaves_after_it_has_ended_its_session(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.say(type="stop")
        driven.session.disconnected()
        assert driven.session.unfinished
        driven.count()
        assert driven.asked == [End(EndReason.STOPPED)]
        driven.end()
        assert driven.session.finished
        assert driven.ledger.entries[SESSION_ID].state.end_reason == "stopped"


class TestLimit:
    """The account has no seconds left."""

    def test_stop_then_grace_then_the_end(self) -> None:
        driven = started()
        driven.ledger.limit = 3
        driven.hear(0, 9)
        ack, warning, stop = driven.count()
        assert (ack["type"], warning["type"]) == ("ack", "warning")
        assert stop == {
            "type": "stop",
            "reason": "limit_reached",
            "last_second": 2,
            "grace_seconds": 10,
        }
        assert driven.counted == {0, 1, 2}
        driven.tick(9.9)
        driven.count()
        assert driven.asked == []
        driven.tick(0.2)
        driven.count()
        (stopped,) = driven.end()
        assert stopped == {
            "type": "stopped",
            "reason": "limit_reached",
            "session_seconds": 3,
            "durable_through": -1,
        }
        assert driven.close_code == 4500
        assert driven.ledger.entries[SESSION_ID].state.end_reason == "limit_reached"

    def test_stop_comes_with_the_last_second_that_fits(self) -> None:
        driven = started()
        driven.ledger.limit = 3
        driven.hear(0, 2)
        assert [sent["type"] for sent in driven.count()] == ["ack", "warning", "stop"]

    def test_it_is_said_once(self) -> None:
        driven = started()
        driven.ledger.limit = 3
        driven.hear(0, 9)
        driven.count()
        driven.hear(10)
        assert [sent["type"] for sent in driven.count()] in ([], ["ack"])

    def test_a_client_that_stops_in_the_grace_is_ended_for_the_limit(self) -> None:
        driven = started()
        driven.ledger.limit = 3
        driven.hear(0, 9)
        driven.count()
        driven.say(type="stop")
        driven.count()
        (stopped,) = driven.end()
        assert (stopped["reason"], driven.close_code) == ("limit_reached", 4500)

    def test_it_reaches_a_session_that_says_nothing(self) -> None:
        driven = started()
        driven.ledger.limit = 0
        driven.tick(2.0)
        assert [sent["type"] for sent in driven.count()][-1] == "stop"

    def test_a_resumed_session_without_room_is_stopped_at_once(self) -> None:
        first = started()
        first.hear(0)
        first.count()
        first.ledger.limit = 1
        second = Driven(ledger=first.ledger)
        started_message, stop = second.start()
        assert started_message["type"] == "started"
        assert (stop["type"], stop["last_second"]) == ("stop", 0)


class TestDuration:
    """No session is longer than the longest."""

    def test_the_clock_stops_it(self) -> None:
        driven = started(Rules(max_session_seconds=100))
        driven.tick(89.0)
        assert all(sent["type"] == "ack" for sent in driven.count())
        driven.tick(2.0)
        stop = driven.count()[-1]
        assert (stop["type"], stop["reason"], stop["last_second"]) == ("stop", "max_duration", -1)
        driven.tick(11.0)
        driven.count()
        (stopped,) = driven.end()
        assert (stopped["reason"], driven.close_code) == ("max_duration", 1000)

    def test_so_do_refused_seconds(self) -> None:
        driven = started(Rules(max_session_seconds=12))
        driven.hear(9, 12)
        sent = driven.count()
        assert (sent[-1]["type"], sent[-1]["reason"]) == ("stop", "max_duration")
        assert driven.counted == {9, 10, 11}


class TestElsewhere:
    """Somebody else ended the session, or speaks for it."""

    def test_an_operator_stops_it(self) -> None:
        driven = started()
        driven.hear(0, 4)
        driven.count()
        driven.ledger.end(SESSION_ID, EndReason.ADMIN)
        driven.hear(5)
        stop, stopped = driven.count()
        assert stop == {"type": "stop", "reason": "admin", "last_second": 4, "grace_seconds": 0}
        assert stopped == {
            "type": "stopped",
            "reason": "admin",
            "session_seconds": 5,
            "durable_through": -1,
        }
        assert driven.close_code == 4503
        assert driven.session.finished

    @pytest.mark.parametrize(
        ("reason", "close"),
        [
            (EndReason.STOPPED, 4501),
            (EndReason.LIMIT_REACHED, 4500),
            (EndReason.MAX_DURATION, 4501),
            (EndReason.LOST, 4501),
        ],
    )
    def test_another_end_is_told(self, reason: EndReason, close: int) -> None:
        driven = started()
        driven.ledger.end(SESSION_ID, reason)
        driven.hear(5)
        (stopped,) = driven.count()
        assert (stopped["type"], stopped["reason"]) == ("stopped", reason)
        assert driven.close_code == close

    def test_an_unheard_of_reason_is_an_end_all_the_same(self) -> None:
        driven = started()
        driven.hear(5)
        driven.count(Counted(CountStatus.ENDED, end_reason="whatever"))
        assert driven.close_code == 4501

    def test_the_newer_connection_takes_over(self) -> None:
        driven = started()
        driven.ledger.entries[SESSION_ID].owner = 99
        driven.hear(5)
        (error,) = driven.count()
        assert (error["code"], error["fatal"], driven.close_code) == ("taken_over", True, 4502)
        assert driven.counted == {5}

    def test_a_session_that_nobody_claims_goes_on(self) -> None:
        driven = started()
        driven.ledger.entries[SESSION_ID].owner = 0
        driven.hear(5)
        driven.count()
        assert driven.closed is None

    def test_a_session_that_cannot_be_reopened_lets_go_of_its_seconds(self) -> None:
        driven = started()
        driven.hear(5)
        driven.session.take()
        driven.session.not_counted()
        driven.session.not_reopened(OpenStatus.LIMIT_REACHED)
        driven.perform()
        assert driven.close_code == 4500
        assert driven.session.finished


class TestDrain:
    """The gateway goes away."""

    @pytest.mark.parametrize("opening", [False, True])
    def test_a_connection_without_a_session_is_sent_away_at_once(self, opening: bool) -> None:
        driven = Driven()
        if opening:
            driven.say(type="start", token="t", session_id=SESSION_ID)
        driven.session.drain(250)
        (drain,) = driven.perform()
        assert drain == {"type": "drain", "reconnect_after_ms": 250}
        assert driven.close_code == 4000

    def test_an_idle_session_is_sent_away_at_once(self) -> None:
        driven = started()
        driven.session.drain(250)
        assert driven.perform()[-1]["type"] == "drain"
        assert driven.close_code == 4000

    def test_what_was_heard_is_counted_first(self) -> None:
        driven = started()
        driven.hear(3)
        driven.session.drain(250)
        assert driven.perform() == []
        driven.hear(4)  # too late for this gateway; the client holds it
        driven.count()
        assert driven.sent[-1] == {"type": "drain", "reconnect_after_ms": 250}
        assert driven.close_code == 4000
        assert driven.counted == {3}

    def test_told_again_it_goes_without_that(self) -> None:
        driven = started()
        driven.hear(3)
        driven.session.drain(250)
        driven.session.drain(300)
        driven.perform()
        assert driven.sent[-1] == {"type": "drain", "reconnect_after_ms": 300}
        assert driven.session.unfinished
        driven.count()
        assert driven.counted == {3}

    def test_a_stop_while_draining_still_ends_the_session(self) -> None:
        driven = started()
        driven.hear(3)
        driven.session.drain(250)
        driven.say(type="stop")
        driven.count()
        driven.end()
        assert driven.close_code == 1000

    def test_a_stop_after_seconds_that_were_not_heard_waits_for_the_next_gateway(self) -> None:
        driven = started()
        driven.hear(3)
        driven.session.drain(250)
        driven.hear(4)  # nobody listens any more
        driven.say(type="stop")
        driven.count()
        assert driven.sent[-1] == {"type": "drain", "reconnect_after_ms": 250}
        assert driven.close_code == 4000
        assert driven.ledger.entries[SESSION_ID].state.ended_at is None

    def test_a_session_that_is_ending_ends(self) -> None:
        driven = started()
        driven.say(type="stop")
        driven.session.drain(250)
        driven.count()
        driven.end()
        assert driven.close_code == 1000


def test_a_client_that_leaves_has_its_seconds_counted() -> None:
    driven = started()
    driven.hear(0, 4)
    driven.session.disconnected()
    assert driven.session.unfinished
    driven.count()
    assert driven.counted == set(range(5))
    assert driven.session.finished
    assert driven.session.phase is Phase.OVER


def _counted(driven: Driven) -> Counted:
    return driven.ledger.count_now(CountItem(driven.session.key, ()))
