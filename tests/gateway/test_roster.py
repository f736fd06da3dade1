"""Who is told the time, and when: those who need it, and in the end all."""

from gateway.client import Phase
from gateway.roster import TURNS, Roster
from gateway.session import LOOK_SECONDS
from tests.gateway.driving import Driven

STARTED = 1000.0


class Clocked:
    """A connection that notes when its session is ticked."""

    def __init__(self) -> None:
        driven = Driven()
        driven.start()
        self.session = driven.session
        assert driven.now == STARTED
        self.connected = True
        self.asked = 0

    def perform(self) -> None:
        self.session.outbox.clear()
        self.session.take()
        self.asked += 1


def roster_of(number: int) -> tuple[Roster, list[Clocked]]:
    roster, speakers = Roster(), [Clocked() for _ in range(number)]
    for at, speaker in enumerate(speakers):
        roster.enter(str(at), speaker)
    return roster, speakers


def answer(roster: Roster, at: int, speaker: Clocked, after: float) -> None:
    speaker.session.answered_at = STARTED + after
    roster.answered(str(at), speaker)


def test_who_was_not_answered_for_long_asks_for_an_answer_and_nobody_else() -> None:
    roster, (first, second, third) = roster_of(3)
    answer(roster, 0, first, 1.0)
    answer(roster, 2, third, 1.0)
    roster.tick_silent(STARTED + LOOK_SECONDS - 0.01)
    assert (first.asked, second.asked, third.asked) == (0, 0, 0)
    roster.tick_silent(STARTED + LOOK_SECONDS)
    assert (first.asked, second.asked, third.asked) == (0, 1, 0)
    answer(roster, 1, second, 1.4)
    roster.tick_silent(STARTED + 1.0 + LOOK_SECONDS)
    assert (first.asked, second.asked, third.asked) == (1, 1, 1)


def test_one_that_is_stopping_is_ticked_each_time() -> None:
    roster, speakers = roster_of(2 * TURNS)
    stopping = speakers[-1]
    stopping.session.phase = Phase.STOPPING
    stopping.session._deadline = STARTED + 20.0
    answer(roster, len(speakers) - 1, stopping, 0.0)
    for number in range(1, 4):
        roster.tick(STARTED + 10.0)
        assert stopping.asked >= number


def test_all_are_ticked_in_a_round_also_those_who_are_answered() -> None:
    roster, speakers = roster_of(3 * TURNS)
    for _ in range(TURNS):
        for at, speaker in enumerate(speakers):
            answer(roster, at, speaker, 0.0)
        roster.tick(STARTED + 10.0)
    assert all(speaker.asked for speaker in speakers)


def test_who_was_superseded_leaves_the_other_in_place() -> None:
    roster, (before,) = roster_of(1)
    after = Clocked()
    roster.enter("0", after)
    roster.answered("0", before)
    assert not roster.leave("0", before)
    assert roster.speakers() == [after]
    assert roster.leave("0", after)
    assert roster.speakers() == []


def test_a_session_whose_tick_fails_keeps_no_other_from_its_own() -> None:
    roster, (broken, fine) = roster_of(2)
    broken.session._pace = None  # type: ignore[assignment]
    roster.tick_silent(STARTED + 10.0)
    assert (broken.asked, fine.asked) == (0, 1)
