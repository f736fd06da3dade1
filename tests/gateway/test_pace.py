"""Good frames that bring nothing new are bounded, and catching up is not."""

from gateway.pace import FRAMES_A_SECOND, MOST_FRAMES
from tests.gateway.driving import Driven


def flooded(driven: Driven, frames: int) -> None:
    """The same second again and again, within a moment."""
    for _ in range(frames):
        driven.hear(0)
    driven.count()


def test_the_same_second_thousands_of_times_ends_the_connection() -> None:
    driven = Driven()
    driven.start()
    flooded(driven, MOST_FRAMES + 1)
    assert driven.close_code is None
    flooded(driven, 100)
    assert driven.close_code == 4002
    assert driven.sent[-1]["code"] == "overloaded"
    assert driven.sent[-1]["fatal"] is True
    assert driven.counted == {0}


def test_it_is_noticed_while_the_ledger_is_away() -> None:
    driven = Driven()
    driven.start()
    for _ in range(MOST_FRAMES + 200):
        driven.hear(0)
    driven.tick(0.2)
    assert driven.close_code == 4002


def test_some_hundred_frames_a_second_may_go_on_for_ever_and_more_may_not() -> None:
    driven = Driven()
    driven.start()
    for _ in range(60):
        driven.now += 1.0
        flooded(driven, FRAMES_A_SECOND)
    assert driven.close_code is None
    for _ in range(60):
        driven.now += 1.0
        if driven.close_code is None:
            flooded(driven, FRAMES_A_SECOND + 100)
    assert driven.close_code == 4002


def test_a_day_with_a_pause_after_each_second_is_caught_up_with_at_once() -> None:
    driven = Driven()
    driven.start()
    driven.now += 80_000
    for second in range(0, 80_000, 2):
        driven.hear(second)
    while driven.session.tally.waiting:
        driven.count()
    assert driven.close_code is None
    assert len(driven.counted) == 40_000


def test_tokens_by_the_thousand_end_the_connection() -> None:
    driven = Driven()
    driven.start()
    for _ in range(MOST_FRAMES // 10 + 20):
        driven.say(type="refresh", token="t")
    driven.tick(0.1)
    assert driven.close_code == 4002


def test_frames_after_stop_are_bounded_too() -> None:
    driven = Driven()
    driven.start()
    driven.hear(0)
    driven.say(type="stop")
    for _ in range(MOST_FRAMES + 100):
        driven.hear(0)
    driven.tick(0.1)
    assert driven.close_code == 4002


def test_a_total_that_fell_with_a_loss_ends_no_connection() -> None:
    driven = Driven()
    driven.start()
    driven.now += 3500
    driven.hear(0, 3400)
    driven.count()
    driven.tick(1.0)
    driven.session.tally.seconds = 0
    driven.tick(1.0)
    assert driven.close_code is None
