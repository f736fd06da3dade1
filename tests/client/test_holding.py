"""What is held, what an ack lets go of, what a reconnect sends again."""

from meter.messages import Warning
from minute_meter.events import HeartbeatSent, Refused
from minute_meter.wire import Ack
from tests.client.harness import ORIGIN, USAGE, Bench


def recorded(seconds: int) -> Bench:
    bench = Bench()
    bench.start()
    bench.run(seconds)
    return bench


def test_an_ack_lets_go_of_what_is_durable() -> None:
    bench = recorded(10)
    bench.ack(5, 10, counted_through=9, session_seconds=10)
    assert bench.held() == ((6, 9),)
    assert (bench.core.counted_through, bench.core.durable_through) == (9, 5)
    assert bench.core.session_seconds == 10
    assert len(bench.of(Ack)) == 1


def test_an_ack_speaks_only_of_the_frames_it_covers() -> None:
    bench = recorded(10)
    bench.ack(9, 7)
    assert bench.held() == ((7, 9),)


def test_acks_out_of_order_do_no_harm() -> None:
    bench = recorded(10)
    bench.ack(7, 9)
    bench.ack(3, 5)
    assert bench.held() == ((8, 9),)
    assert bench.core.durable_through == 3


def test_an_old_second_sent_again_is_held_until_an_ack_means_that_sending() -> None:
    bench = recorded(10)
    bench.core.heartbeat(3, 3, bench.time)
    assert bench.seconds() == [(3, 3)]
    bench.ack(9, 10)  # on its way while second 3 went out again
    assert bench.held() == ((3, 3),)
    bench.ack(9, 11)
    assert bench.held() == ()


def test_an_ack_of_a_server_that_does_not_say_how_many_frames_is_taken_at_its_word() -> None:
    bench = recorded(10)
    bench.ack(4, None)
    assert bench.held() == ((5, 9),)


def test_a_reconnect_sends_all_that_is_held_before_anything_new() -> None:
    bench = recorded(10)
    bench.ack(2, 10)
    bench.core.pause(bench.time)
    bench.run(5)
    bench.core.resume(bench.time)
    bench.run(2)
    bench.lose()
    bench.open()
    bench.now += 1
    bench.started(resumed=True, counted_through=9, durable_through=6)
    # Also what `started` calls durable: it speaks of what the server has heard of, and a second
    # sent out of order may not have reached it.
    assert bench.seconds() == [(3, 9), (15, 17)]
    assert bench.run(1) == [(18, 18)]
    bench.ack(9, 1)
    assert bench.held() == ((15, 18),)


def test_frames_are_counted_anew_on_each_connection() -> None:
    bench = recorded(10)
    bench.lose()
    bench.start(resumed=True)
    assert bench.seconds() == [(0, 9)]
    bench.run(2)
    assert [(sent.frame, sent.first) for sent in bench.of(HeartbeatSent)[-3:]] == [
        (1, 0),
        (2, 10),
        (3, 11),
    ]
    bench.ack(11, 2)
    assert bench.held() == ((11, 11),)


def test_a_server_that_lost_its_memory_gets_all_that_is_held_again() -> None:
    bench = recorded(100)
    bench.ack(59, 100, counted_through=99)
    bench.lose()
    bench.start(resumed=True, counted_through=39, durable_through=39)
    assert bench.seconds() == [(60, 99)]
    assert bench.core.durable_through == 39


def test_a_session_that_the_server_never_kept_begins_anew_with_the_same_moments() -> None:
    bench = recorded(10)
    bench.lose()
    bench.start(origin=ORIGIN + 4)
    assert bench.seconds() == [(0, 5)]
    (refused,) = bench.of(Refused)
    assert refused.seconds == ((0, 3),)
    assert bench.run(2) == [(6, 6), (7, 7)]
    assert bench.core.origin == ORIGIN + 4


def test_refused_seconds_are_reported_and_not_sent_for_ever() -> None:
    bench = recorded(5)
    bench.say("error", code="second_too_late", message="too late", fatal=False)
    assert [event.code for event in bench.of(Refused)] == ["second_too_late"]
    assert bench.run(1) == [(5, 5)]
    bench.ack(5, 6)  # what was refused is not waited for by the server either
    assert bench.held() == ()


def test_what_the_server_says_beyond_this_version_is_ignored() -> None:
    bench = recorded(3)
    bench.say("news", text="?")
    bench.ack(1, 3, surprise={"a": [1]})
    assert bench.held() == ((2, 2),)
    bench.say("warning", kind="percent", value=80, usage=USAGE, more=1)
    assert [warning.value for warning in bench.of(Warning)] == [80]


def test_what_cannot_be_read_is_ignored() -> None:
    bench = recorded(3)
    for frame in ("", "{", "[]", '{"type":7}', '{"type":"ack"}', b"\xff\xfe"):
        bench.core.received(frame, bench.time)
    assert bench.held() == ((0, 2),)
    assert bench.run(1) == [(3, 3)]
