"""The seconds that a client holds until the server has said that they are durable. Pure."""

from collections.abc import Iterable

from meter.seconds import mask_of

Range = tuple[int, int]

_UNSENT = 0


def ranges_of(seconds: Iterable[int]) -> list[Range]:
    """Ascending inclusive ranges of some seconds."""
    ranges: list[Range] = []
    for second in sorted(seconds):
        if ranges and ranges[-1][1] == second - 1:
            ranges[-1] = (ranges[-1][0], second)
        else:
            ranges.append((second, second))
    return ranges


class HeldSeconds:
    """Each second with the heartbeat frame of the present connection that last sent it.

    Frames are numbered from 1 on each connection, as the server counts them. An ack lets go of a
    second only when it speaks of the frame that last sent it: an ack on its way while an old second
    is sent again doesn't mean that one.
    """

    def __init__(self) -> None:
        self._frame_of: dict[int, int] = {}
        self._unsent: set[int] = set()
        self._ever = 0
        self._ever_sent = 0
        self.frames_sent = 0

    def __len__(self) -> int:
        return len(self._frame_of)

    def __contains__(self, second: int) -> bool:
        return second in self._frame_of

    @property
    def recorded(self) -> int:
        """How many different seconds were ever added."""
        return self._ever.bit_count()

    @property
    def sent(self) -> int:
        """How many different seconds were ever sent."""
        return self._ever_sent.bit_count()

    def ranges(self) -> tuple[Range, ...]:
        """All that are held."""
        return tuple(ranges_of(self._frame_of))

    def add(self, first: int, last: int) -> None:
        """Hold seconds, to be sent; those held or even let go before are simply sent again."""
        seconds = range(first, last + 1)
        self._frame_of.update(dict.fromkeys(seconds, _UNSENT))
        self._unsent.update(seconds)
        self._ever |= mask_of(first, last)

    def has_unsent(self, through: int | None = None) -> bool:
        """Whether any (up to `through`) is still to be sent on this connection."""
        if through is None:
            return bool(self._unsent)
        return any(second <= through for second in self._unsent)

    def take(self, through: int) -> list[tuple[int, Range]]:
        """The unsent seconds up to `through`, as (frame's number, range), ascending; now sent."""
        if not self._unsent:
            return []
        frames = []
        for first, last in ranges_of(second for second in self._unsent if second <= through):
            self.frames_sent += 1
            self._ever_sent |= mask_of(first, last)
            frames.append((self.frames_sent, (first, last)))
            seconds = range(first, last + 1)
            self._frame_of.update(dict.fromkeys(seconds, self.frames_sent))
            self._unsent.difference_update(seconds)
        return frames

    def let_go(self, through: int, frames: int) -> None:
        """Drop the seconds up to `through` whose last sending was among the first `frames`."""
        durable = [
            second
            for second, frame in self._frame_of.items()
            if second <= through and _UNSENT < frame <= frames
        ]
        for second in durable:
            del self._frame_of[second]

    def send_again(self, since: int | None = None) -> None:
        """Take all (from `since` on) for unsent: they go out again."""
        again = [second for second in self._frame_of if since is None or second >= since]
        self._frame_of.update(dict.fromkeys(again, _UNSENT))
        self._unsent.update(again)

    def connection_lost(self) -> None:
        """The next connection sends all again, and numbers its frames from 1."""
        self.send_again()
        self.frames_sent = 0

    def renumber(self, shift: int) -> tuple[Range, ...]:
        """Add `shift` to every second. Gives those that came to lie before second 0, as they were
        numbered before: no server takes them, so they are dropped."""
        dropped = [second for second in self._frame_of if second + shift < 0]
        kept = [second + shift for second in self._frame_of if second + shift >= 0]
        self._frame_of = dict.fromkeys(kept, _UNSENT)
        self._unsent = set(kept)
        self._ever = _shifted(self._ever, shift)
        self._ever_sent = _shifted(self._ever_sent, shift)
        return tuple(ranges_of(dropped))


def _shifted(mask: int, shift: int) -> int:
    return mask << shift if shift >= 0 else mask >> -shift
