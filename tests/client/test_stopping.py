"""How a session ends."""

import pytest

from meter.codes import CloseCode
from meter.messages import StopNotice
from minute_meter.ends import State
from tests.client.harness import ORIGIN, Bench

STOP = {"type": "stop"}


def test_stop_sends_the_rest_first() -> None:
    bench = Bench()
    bench.start()
    bench.now = 2.7
    bench.core.stop(bench.time)
    assert bench.take() == [{"type": "heartbeat", "from": 0, "to": 2}, STOP]
    assert bench.core.state is State.STOPPING
    assert bench.run(3) == []
    bench.say("stopped", reason="stopped", session_seconds=3)
    assert bench.core.over
    assert bench.core.drop == "done"
    end = bench.core.end
    assert end is not None
    assert (end.reason, end.session_seconds, end.confirmed) == ("stopped", 3, True)


def test_stop_does_not_wait_for_seconds_of_a_clock_that_was_set_back_by_an_hour() -> None:
    bench = Bench()
    bench.server_ahead = 3600.0
    bench.start()
    bench.run(3)
    bench.lose()
    bench.server_ahead = 0.0
    bench.start(resumed=True)
    bench.take()
    bench.core.stop(bench.time)
    ask_again(bench)
    bench.start(resumed=True)
    assert STOP in bench.take()


def test_a_clock_that_was_put_right_is_asked_for_before_seconds_are_given_up() -> None:
    bench = Bench()
    bench.start()
    bench.run(3)
    bench.lose()
    bench.server_ahead = -3600.0
    bench.start(resumed=True)
    bench.take()
    bench.server_ahead = 0.0
    bench.core.stop(bench.time)
    ask_again(bench)
    bench.start(resumed=True)
    heard, stop = bench.take()
    assert (heard["from"], stop) == (0, STOP)


def ask_again(bench: Bench) -> None:
    """It lets go of the connection, to be told the time on another one."""
    assert STOP not in bench.take()
    bench.core.advance(bench.time)
    assert bench.core.drop == "move"
    bench.lose()


def test_nor_for_those_of_a_session_that_began_by_such_a_clock() -> None:
    bench = Bench()
    bench.start(origin=ORIGIN + 3600, server_time=ORIGIN + 3600.0)
    bench.run(3)
    bench.lose()
    bench.start(resumed=True, origin=ORIGIN + 3600)
    bench.take()
    bench.core.stop(bench.time)
    ask_again(bench)
    bench.start(resumed=True, origin=ORIGIN + 3600)
    assert STOP in bench.take()


def test_stop_in_mid_reconnect_is_said_on_the_next_connection() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.lose()
    bench.core.stop(bench.time)
    assert bench.take() == []
    bench.start(resumed=True)
    assert bench.take() == [{"type": "heartbeat", "from": 0, "to": 4}, STOP]


def test_a_connection_lost_before_stopped_is_made_again() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.core.stop(bench.time)
    bench.take()
    assert bench.lose() is not None
    bench.start(resumed=True)
    assert bench.take() == [{"type": "heartbeat", "from": 0, "to": 4}, STOP]


def test_a_session_that_ended_by_our_lost_stop_ended_well() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.ack(-1, 5, session_seconds=5)
    bench.core.stop(bench.time)
    bench.take()
    bench.lose()
    bench.open()
    bench.say("error", code="session_ended", message="it has ended", fatal=True)
    bench.lose(CloseCode.SESSION_ENDED)
    end = bench.core.end
    assert end is not None
    assert (end.reason, end.announced, end.confirmed) == ("stopped", True, False)
    assert end.session_seconds == 5


def test_a_session_that_ended_before_our_stop_was_sent_did_not_end_well() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.lose()
    bench.core.stop(bench.time)
    bench.open()
    bench.lose(CloseCode.SESSION_ENDED)
    assert bench.core.end is not None
    assert not bench.core.end.announced


def test_stop_waits_for_seconds_that_are_not_due_yet() -> None:
    bench = Bench(automatic=False)
    bench.start()
    bench.now = 10
    bench.core.heartbeat(0, 11, bench.time)
    bench.take()
    bench.lose()
    bench.server_ahead = -3
    bench.start(resumed=True)
    bench.core.stop(bench.time)
    assert STOP not in bench.take()
    bench.now += 2.9
    bench.tick()
    assert STOP not in bench.take()
    bench.now += 0.2
    bench.tick()
    assert bench.take()[-1] == STOP


def test_the_servers_stop_ends_the_heartbeats() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.say("stop", reason="limit_reached", last_second=3, grace_seconds=10)
    (notice,) = bench.of(StopNotice)
    assert notice.grace_seconds == 10
    assert bench.core.state is State.STOPPING
    assert bench.run(5) == []
    bench.core.resume(bench.time)
    assert bench.run(2) == []
    bench.say("stopped", reason="limit_reached", session_seconds=4)
    end = bench.core.end
    assert end is not None
    assert (end.reason, end.session_seconds, end.announced) == ("limit_reached", 4, True)
    assert end.code == CloseCode.LIMIT_REACHED


def test_after_the_servers_stop_only_what_it_counted_is_sent_again() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.say("stop", reason="limit_reached", last_second=3, grace_seconds=10)
    bench.lose()
    bench.start(resumed=True)
    assert bench.seconds() == [(0, 3)]
    bench.core.stop(bench.time)
    assert bench.take() == [STOP]


@pytest.mark.parametrize(
    ("reason", "code"),
    [("limit_reached", CloseCode.LIMIT_REACHED), ("admin", CloseCode.STOPPED_BY_OPERATOR)],
)
def test_a_close_after_the_servers_stop_was_announced(reason: str, code: int) -> None:
    bench = Bench()
    bench.start()
    bench.say("stop", reason=reason, last_second=-1, grace_seconds=0)
    bench.lose(code)
    end = bench.core.end
    assert end is not None
    assert (end.reason, end.code, end.announced) == (reason, code, True)


def test_nothing_changes_an_ended_session() -> None:
    bench = Bench()
    bench.start()
    bench.run(2)
    bench.core.stop(bench.time)
    bench.take()
    bench.say("stopped", reason="stopped", session_seconds=2)
    end = bench.core.end
    bench.lose(CloseCode.LIMIT_REACHED)
    bench.core.resume(bench.time)
    bench.core.stop(bench.time)
    bench.core.heartbeat(0, 1, bench.time)
    bench.ack(1, 2)
    bench.tick()
    assert bench.take() == []
    assert bench.core.end is end
