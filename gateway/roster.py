"""Who speaks for which session, and whose turn it is to be told the time."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from itertools import takewhile

from gateway.client import STOPPING
from gateway.recovery import Speaker
from gateway.session import LOOK_SECONDS

logger = logging.getLogger(__name__)

# All are ticked once in so many turns.
TURNS = 10


class Roster:
    """The connections that speak for a session.

    A tick of each, twice a second, would cost as much as its heartbeats. So they are kept in the
    order of the ledger's last answers: those that wait for one come first, and are found without
    looking at the others. What else a tick does is needed soon by those that are stopping alone.
    """

    def __init__(self) -> None:
        self._speakers: OrderedDict[str, Speaker] = OrderedDict()
        self._stopping: set[Speaker] = set()
        self._this_round: list[Speaker] = []  # whose turn is still to come

    def speakers(self) -> list[Speaker]:
        """All of them."""
        return list(self._speakers.values())

    def find(self, session_id: str) -> Speaker | None:
        """Who speaks for this session."""
        return self._speakers.get(session_id)

    def enter(self, session_id: str, speaker: Speaker) -> None:
        """From now on this connection speaks for the session."""
        self._speakers[session_id] = speaker
        self.answered(session_id, speaker)

    def answered(self, session_id: str, speaker: Speaker) -> None:
        """The ledger answered it just now. For each reply."""
        if self._speakers.get(session_id) is speaker:
            self._speakers.move_to_end(session_id)
            if speaker.session.phase is STOPPING:
                self._stopping.add(speaker)

    def leave(self, session_id: str, speaker: Speaker) -> bool:
        """It speaks for the session no longer; whether it did."""
        if self._speakers.get(session_id) is not speaker:
            return False
        del self._speakers[session_id]
        return True

    def tick_silent(self, now: float) -> None:
        """Tick those that were not answered for long, so that they ask for an answer."""
        silent = takewhile(
            lambda speaker: now - speaker.session.answered_at >= LOOK_SECONDS,
            self._speakers.values(),
        )
        _tick(list(silent), now)

    def tick(self, now: float) -> None:
        """Tick those that are stopping, and of the others those whose turn it is."""
        self._stopping = {each for each in self._stopping if each.session.phase is STOPPING}
        if not self._this_round:
            self._this_round = self.speakers()
        share = len(self._speakers) // TURNS + 1
        turn, self._this_round = self._this_round[:share], self._this_round[share:]
        _tick([*self._stopping, *turn], now)


def _tick(speakers: Iterable[Speaker], now: float) -> None:
    for speaker in speakers:
        try:
            speaker.session.tick(now)
            if speaker.session.outbox:
                speaker.perform()
        except Exception:
            logger.exception("a session's tick failed")
