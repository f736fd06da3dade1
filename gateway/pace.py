"""How many good frames a connection may send that bring nothing new. Pure.

What a recorder sends again and again counts once, and still costs some microseconds each time. What
is new is bounded by time itself, so that one with a pause after each second of a day may catch up.
"""

MOST_FRAMES = 2000
FRAMES_A_SECOND = 200
# A token to be checked costs as much as so many heartbeats.
REFRESH_FRAMES = 10
# It is looked at once in so many heartbeats, and whenever a session is ticked.
FRAMES_A_LOOK = 100


class Pace:
    """A bucket of frames that fills with time; those that brought no second are taken out of it.

    `others` counts frames other than heartbeats that were heard.
    """

    __slots__ = ("_at", "_left", "_seconds", "_wasted", "look_at", "others")

    def __init__(self, now: float) -> None:
        self.others = 0
        self.look_at = FRAMES_A_LOOK  # heartbeats, as of which to ask again
        self._at = now
        self._left = float(MOST_FRAMES)
        self._seconds = 0
        self._wasted = 0

    def allows(self, heartbeats: int, seconds: int, now: float) -> bool:
        """Whether so many heartbeats, from the connection's first on, aren't too many by now, for a
        session of so many seconds."""
        self._seconds = max(self._seconds, seconds)  # it falls where the ledger loses some
        wasted = heartbeats + self.others - self._seconds
        filled = self._left + (now - self._at) * FRAMES_A_SECOND - (wasted - self._wasted)
        self._left = min(filled, float(MOST_FRAMES))
        self._wasted, self._at = wasted, now
        self.look_at = heartbeats + FRAMES_A_LOOK
        return self._left >= 0
