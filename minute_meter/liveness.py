"""Is the connection alive, and was the program awake? Pure; times are monotonic seconds."""

from enum import Enum, auto

LEAST_SILENCE_SECONDS = 15.0
SILENT_ACKS = 3
# A program that was busy for this long may have unread replies: it gets a while to see them.
MISSED_TICK_SECONDS = 3.0
READING_SECONDS = 5.0
# Longer than this without a tick, and it was no busy program but a sleeping machine, in which
# nothing was recorded. Linux' and macOS' monotonic clocks stop in sleep, Windows' goes on.
MAX_STALL_SECONDS = 60.0
# The wall clock ran this much ahead of the monotonic one between two ticks: that one stood still.
SLEPT_SECONDS = 5.0


class Since(Enum):
    """What happened since the tick before."""

    AWAKE = auto()
    SLEPT = auto()
    CLOCK_STOOD = auto()  # slept, and the monotonic clock doesn't say how long


class Liveness:
    """Ticks of the program and signs of life of the server."""

    def __init__(self, now: float) -> None:
        self._silence_seconds = LEAST_SILENCE_SECONDS
        self._heard_at = now
        self._ticked_at = now
        self._wall_at_tick: float | None = None

    def heard(self, now: float) -> None:
        """The server said something, or the connection was opened."""
        self._heard_at = now

    def expect_acks(self, ack_seconds: float) -> None:
        """The server says something at least this often."""
        self._silence_seconds = max(SILENT_ACKS * ack_seconds, LEAST_SILENCE_SECONDS)

    def silent(self, now: float) -> bool:
        """Whether the server should have been heard long ago."""
        return now - self._heard_at >= self._silence_seconds

    def tick(self, now: float, wall: float | None) -> Since:
        """The program is running. `wall`: the local clock's epoch seconds, if at hand."""
        gap, self._ticked_at = now - self._ticked_at, now
        stood = 0.0
        if wall is not None:
            if self._wall_at_tick is not None:
                stood = wall - self._wall_at_tick - gap
            self._wall_at_tick = wall
        if gap > MISSED_TICK_SECONDS:
            self._heard_at = max(self._heard_at, now - self._silence_seconds + READING_SECONDS)
        if stood > SLEPT_SECONDS:
            return Since.CLOCK_STOOD
        return Since.SLEPT if gap > MAX_STALL_SECONDS else Since.AWAKE
