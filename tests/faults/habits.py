"""How recorders report: a second at a time, in ranges, with pauses, again and again. All seconds
here are epoch seconds, by the server's clock as the recorder knows it."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from meter.seconds import Range

# A clock that leaps by more was set; nothing was recorded in between.
LEAP_SECONDS = 30


@dataclass
class Steady:
    """Records all the time, and reports every `every_seconds` what was recorded since.

    With the probability `late` it keeps a second back for a while, so that later ones are sent
    before it. It pauses now and then, for which `pausing` is the probability a second; and with the
    probability `again` it sends old ranges of up to `longest_again` seconds once more.
    """

    seed: int
    every_seconds: int = 1
    pausing: float = 0.0
    again: float = 0.0
    longest_again: int = 30
    late: float = 0.0
    pause_seconds: float = 1.0
    _next: int | None = None
    _paused_until: int = -1
    _kept: list[int] = field(default_factory=list)
    _done: list[Range] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def report(self, under_way: int) -> Iterable[Range]:
        """What is complete and due, and now and then something old."""
        self._take(under_way)
        if len(self._kept) >= self.every_seconds:
            yield from self._give()
        if self._done and self._random.random() < self.again:
            first, last = self._random.choice(self._done)
            first = self._random.randint(first, last)
            yield first, min(last, first + self._random.randrange(self.longest_again))

    def rest(self, under_way: int) -> Iterable[Range]:
        """All that is complete."""
        self._take(under_way)
        yield from self._give(all_of_it=True)

    def _take(self, under_way: int) -> None:
        if self._next is None or abs(under_way - self._next) > LEAP_SECONDS:
            self._next = under_way
        while self._next < under_way:
            if self._next > self._paused_until:
                self._kept.append(self._next)
                if self._random.random() < self.pausing:
                    self._paused_until = self._next + self._random.randint(1, 8)
            self._next += 1

    def _give(self, *, all_of_it: bool = False) -> Iterator[Range]:
        back = [
            second for second in self._kept if not all_of_it and self._random.random() < self.late
        ]
        runs = _runs(sorted(set(self._kept) - set(back)))
        self._kept = back
        for first, last in runs:
            if self._done and self._done[-1][1] == first - 1:
                self._done[-1] = (self._done[-1][0], last)
            else:
                self._done.append((first, last))
        yield from runs


def _runs(seconds: Iterable[int]) -> list[Range]:
    runs: list[Range] = []
    for second in seconds:
        if runs and runs[-1][1] == second - 1:
            runs[-1] = (runs[-1][0], second)
        else:
            runs.append((second, second))
    return runs


@dataclass
class Retransmitting:
    """Brings a past that began at `first`, in overlapping ranges of up to `longest` seconds: mostly
    what was sent before, one or two seconds of it new, and now and then a leap of `longest`."""

    seed: int
    first: int
    longest: int = 30
    pause_seconds: float = 0.25

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._through = self.first - 1

    def report(self, under_way: int) -> Iterable[Range]:
        """A range that ends with what is new; sometimes twice."""
        leap = self.longest if self._random.random() < 0.05 else self._random.randint(1, 2)
        self._through = min(self._through + leap, under_way - 1)
        length = self._random.randint(1, self.longest)
        piece = (max(self._through - length + 1, self.first), self._through)
        if piece[0] <= piece[1]:
            yield piece
            if self._random.random() < 0.3:
                yield piece

    def rest(self, under_way: int) -> Iterable[Range]:
        """Nothing."""
        return ()
