"""Which seconds a recorder sends, and when."""

import pytest

from minute_meter.ends import State
from minute_meter.errors import FutureSecondError
from tests.client.harness import Bench


def test_each_second_is_sent_once_it_is_over() -> None:
    bench = Bench()
    bench.start()
    assert bench.seconds() == []
    bench.now = 0.99
    bench.tick()
    assert bench.seconds() == []
    bench.now = 1.0
    bench.tick()
    assert bench.seconds() == [(0, 0)]
    assert bench.run(3) == [(1, 1), (2, 2), (3, 3)]


def test_nothing_is_special_about_a_minutes_end() -> None:
    bench = Bench()
    bench.start()
    assert bench.run(62)[57:] == [(57, 57), (58, 58), (59, 59), (60, 60), (61, 61)]


@pytest.mark.parametrize("begun", [0.0, 0.2, 0.49, 0.51, 0.9])
@pytest.mark.parametrize("length", [1, 7, 60])
def test_a_recording_of_n_seconds_counts_n(begun: float, length: int) -> None:
    bench = Bench()
    bench.now = begun
    bench.start()
    bench.run(length)
    bench.core.stop(bench.time)
    assert bench.core.held.recorded == length


def test_the_second_under_way_at_stop_counts_from_half_on() -> None:
    for ended, last in ((4.4, 3), (4.6, 4)):
        bench = Bench()
        bench.start()
        bench.run(ended)
        bench.core.stop(bench.time)
        bench.take()
        assert bench.held() == ((0, last),)


def test_a_pause_leaves_its_seconds_out() -> None:
    bench = Bench()
    bench.start()
    bench.run(3)
    bench.core.pause(bench.time)
    assert bench.core.state is State.PAUSED
    assert bench.run(4) == []
    bench.core.resume(bench.time)
    assert str(bench.core.state) == "recording"
    assert bench.run(2) == [(7, 7), (8, 8)]
    assert bench.held() == ((0, 2), (7, 8))


def test_pauses_within_a_second_add_up() -> None:
    bench = Bench()
    bench.start()
    for start, end in ((1.0, 1.3), (1.5, 1.8), (2.0, 2.2), (2.5, 2.7)):
        bench.now = start
        bench.core.resume(bench.time)
        bench.now = end
        bench.core.pause(bench.time)
    bench.now = 4.0
    bench.tick()
    assert bench.held() == ((0, 1),)  # second 0 whole, 0.6 s of second 1, 0.4 s of second 2


def test_a_busy_program_catches_up_with_one_frame() -> None:
    bench = Bench()
    bench.start()
    bench.run(2)
    bench.now += 9
    bench.tick()
    assert bench.seconds() == [(2, 10)]
    assert bench.core.drop is None  # replies may be waiting to be read


def test_a_sleep_in_which_the_clock_went_on_is_not_recorded() -> None:
    bench = Bench()
    bench.start()
    bench.run(2)
    bench.now += 3600
    bench.tick()
    assert bench.core.drop == "dead"
    bench.lose()
    bench.start(resumed=True)
    assert bench.run(3)[-1] == (3604, 3604)
    assert bench.held() == ((0, 1), (3602, 3604))


def test_a_sleep_in_which_the_clock_stood_is_not_recorded_and_not_misnumbered() -> None:
    bench = Bench()
    bench.start()
    bench.run(10)
    bench.now += 1
    bench.wall_ahead = bench.server_ahead = 600
    bench.tick()
    assert bench.core.drop == "dead"
    bench.lose()
    bench.run(3)
    assert bench.held() == ((0, 9),)  # the rest has no number yet
    bench.start(resumed=True)
    bench.run(2)
    assert bench.held() == ((0, 9), (610, 615))


def test_a_wall_clock_that_is_set_back_changes_nothing() -> None:
    bench = Bench()
    bench.start()
    bench.run(2)
    bench.wall_ahead = -86_400
    assert bench.run(2) == [(2, 2), (3, 3)]
    assert bench.core.drop is None


def test_a_slow_answer_does_not_number_seconds_anew() -> None:
    bench = Bench()
    bench.start()
    bench.run(5)
    bench.lose()
    bench.server_ahead = -0.7
    bench.start(resumed=True)
    assert bench.run(1)[-1] == (5, 5)


def test_a_server_clock_that_is_behind_holds_seconds_back_until_they_are_due() -> None:
    bench = Bench()
    bench.start()
    bench.run(20)
    bench.ack(19, 20)
    bench.core.heartbeat(20, 21, bench.time)
    bench.take()
    bench.lose()
    bench.server_ahead = -10.0
    bench.start(resumed=True)
    sent = bench.run(9)
    assert (20, 20) in sent
    assert (21, 21) not in sent
    assert (21, 21) in bench.run(1)


def test_seconds_in_the_future_are_sent_again_when_they_are_due() -> None:
    bench = Bench(automatic=False)
    bench.start()
    bench.run(100)
    bench.core.heartbeat(0, 101, bench.time)
    assert bench.seconds() == [(0, 101)]
    bench.say("error", code="second_in_future", message="refused", fatal=False)
    bench.tick()
    assert bench.seconds() == [(0, 100)]  # the clock is believed a second less
    bench.now = 101.0
    bench.tick()
    assert bench.seconds() == [(101, 101)]


def test_a_server_that_always_refuses_is_not_sent_to_for_ever() -> None:
    bench = Bench()
    bench.start()
    bench.run(100)
    answered = 0
    for _ in range(200):
        bench.say("error", code="second_in_future", message="refused", fatal=False)
        bench.tick()
        answered += bool(bench.seconds())
    assert answered < 100


def test_what_a_server_refuses_while_its_clock_is_an_hour_behind_is_sent_once_it_is_put_right() -> (
    None
):
    bench = Bench()
    bench.start()
    bench.run(3)
    refused = 0
    while bench.core.drop is None:  # it asks for the time again, in the end
        bench.say("error", code="second_in_future", message="refused", fatal=False)
        bench.run(1)
        bench.ack(9, refused)
        refused = sum(frame["type"] == "heartbeat" for frame in bench.sent)
        assert bench.now < 120
    assert bench.core.drop == "move"
    assert bench.core.held.ranges()[0][0] == 0  # no ack let go of what was refused
    bench.lose()
    bench.start(resumed=True)
    assert bench.seconds()[0][0] == 0


def test_a_server_that_goes_on_refusing_is_left_alone_for_a_while_and_asked_for_the_time() -> None:
    bench = Bench()
    bench.start()
    bench.run(100)
    for _ in range(70):
        bench.say("error", code="second_in_future", message="refused", fatal=False)
        bench.tick()
        bench.take()
    assert bench.run(9) == []
    assert bench.core.drop is None
    bench.run(1)
    assert bench.core.drop == "move"


def test_by_hand_a_second_may_be_one_ahead_of_the_server() -> None:
    bench = Bench(automatic=False)
    bench.start()
    bench.run(5.5)
    bench.core.heartbeat(6, 6, bench.time)
    assert bench.seconds() == [(6, 6)]
    with pytest.raises(FutureSecondError) as caught:
        bench.core.heartbeat(5, 7, bench.time)
    assert (caught.value.second, caught.value.latest) == (7, 6)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3)])
def test_by_hand_only_intervals_can_be_sent(first: int, last: int) -> None:
    bench = Bench(automatic=False)
    bench.start()
    with pytest.raises(ValueError, match="no interval"):
        bench.core.heartbeat(first, last, bench.time)


def test_sending_waits_for_the_phase_so_that_not_all_clients_send_at_once() -> None:
    bench = Bench(phase_seconds=0.25)
    bench.start()
    assert bench.core.next_wake(bench.time) - bench.time == pytest.approx(0.25)
    bench.now = 3.5
    assert bench.core.next_wake(bench.time) - bench.time == pytest.approx(0.75)
