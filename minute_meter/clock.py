"""The server's clock as a client knows it, and the seconds in which something was recorded. Pure:
all times are handed in, and are monotonic seconds unless they say otherwise."""

from math import floor

from meter.seconds import Range
from minute_meter.liveness import MAX_STALL_SECONDS

# A server whose clock seems to be behind by less than this is one whose answer was slow.
SLOW_ANSWER_SECONDS = 1.0
# A second counts when at least this much of it was recorded, so that a recording of n seconds
# counts n, wherever within a second it began.
COUNTED_PART = 0.5
_ROUNDING = 1e-6


class ServerClock:
    """Epoch seconds on the server, estimated from the local monotonic clock."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    @property
    def known(self) -> bool:
        """Whether the server has told the time since the local clock last lost it."""
        return self._ahead is not None

    def heard(self, server_time: float, now: float) -> None:
        """The server said its time (epoch seconds).

        The answer took a while, so an estimate errs to the past only: the most advanced is the
        best. One far behind the present estimate is another clock, or one that was set back.
        """
        ahead = server_time - now
        if self._ahead is None or ahead > self._ahead or ahead < self._ahead - SLOW_ANSWER_SECONDS:
            self._ahead = ahead

    def epoch(self, now: float) -> float:
        """The server's epoch seconds. Only when `known`."""
        assert self._ahead is not None
        return self._ahead + now

    def set_back(self, seconds: float) -> None:
        """The estimate turned out to be too far ahead."""
        assert self._ahead is not None
        self._ahead -= seconds

    def forget(self) -> None:
        """The local clock stood still for an unknown time."""
        self._ahead = None


class Timeline:
    """A session's seconds on the server's clock: which one is under way, and which were recorded.

    `origin` is second 0 in epoch seconds, None before the first `started`. Stretches of recording
    wait in local time while the server's clock isn't known.
    """

    def __init__(self) -> None:
        self.origin: int | None = None
        self.recording = False
        self._clock = ServerClock()
        self._since = 0.0
        self._waiting: list[tuple[float, float]] = []
        self._parts: dict[int, float] = {}

    # The clock -----------------------------------------------------------------------------------

    def synchronize(self, origin: int, server_time: float, now: float) -> None:
        """The server said its time, and the session's origin."""
        if self.origin is not None:
            shift = self.origin - origin
            self._parts = {second + shift: part for second, part in self._parts.items()}
        self.origin = origin
        self._clock.heard(server_time, now)

    def forget(self) -> None:
        """The local clock stood still for an unknown time."""
        self._clock.forget()

    def set_back(self, seconds: float) -> None:
        """The server's clock is behind what was believed."""
        if self._clock.known:
            self._clock.set_back(seconds)

    def epoch(self, now: float) -> float | None:
        """The server's epoch seconds, as far as known."""
        return self._clock.epoch(now) if self._clock.known else None

    def position(self, now: float) -> float | None:
        """Seconds since the origin by the server's clock, never negative; None when not known."""
        if self.origin is None or not self._clock.known:
            return None
        return max(self._clock.epoch(now) - self.origin, 0.0)

    def due_within(self, seconds: int, now: float) -> int:
        """The second that is under way so much later; below zero where the session itself begins
        later still. Only when the position is known."""
        assert self.origin is not None
        return floor(self._clock.epoch(now)) - self.origin + seconds

    # What was recorded ---------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Something is recorded from now on."""
        if not self.recording:
            self.recording = True
            self._since = now

    def end(self, now: float) -> None:
        """Nothing is recorded from now on."""
        self.note(now)
        self.recording = False

    def note(self, now: float) -> None:
        """Recording went on until now. To be called every second or so."""
        if not self.recording:
            return
        if 0 < now - self._since <= MAX_STALL_SECONDS:
            if self._waiting and self._waiting[-1][1] == self._since:
                self._waiting[-1] = (self._waiting[-1][0], now)
            else:
                self._waiting.append((self._since, now))
        self._since = now

    def take(self, now: float, *, finish: bool = False) -> list[Range]:
        """The seconds, as inclusive ranges, that are over and were recorded for half at least.
        With `finish`, the one under way too. Nothing while the server's clock isn't known."""
        under_way = self.position(now)
        if under_way is None:
            return []
        seconds: list[Range] = []
        for start, end in self._waiting:
            self._place(self.position(start) or 0.0, self.position(end) or 0.0, seconds)
        self._waiting.clear()
        for second in [part for part in self._parts if finish or part < floor(under_way)]:
            if self._parts.pop(second) >= COUNTED_PART - _ROUNDING:
                seconds.append((second, second))
        return seconds

    def _place(self, start: float, end: float, seconds: list[Range]) -> None:
        first, last = floor(start), floor(end)
        if first == last:
            self._add_part(first, end - start)
            return
        self._add_part(first, first + 1 - start)
        if first + 1 < last:
            seconds.append((first + 1, last - 1))
        self._add_part(last, end - last)

    def _add_part(self, second: int, seconds: float) -> None:
        if seconds > 0:
            self._parts[second] = self._parts.get(second, 0.0) + seconds
