"""Sets of seconds: inclusive ranges on the wire, integer masks in memory, minutes' masks in rows.

Pure.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

MINUTE_MASK = (1 << 60) - 1

Range = tuple[int, int]


def mask_of(first: int, last: int) -> int:
    """The mask with the bits from `first` to `last` set, inclusive."""
    return ((1 << (last - first + 1)) - 1) << first


def ranges_of(mask: int, base: int = 0) -> Iterator[Range]:
    """The set bits of a mask as ascending inclusive ranges, each moved up by `base`."""
    while mask:
        first = (mask & -mask).bit_length() - 1
        run = mask >> first
        length = (~run & (run + 1)).bit_length() - 1
        yield base + first, base + first + length - 1
        mask = (run >> length) << (first + length)


def minute_masks(origin: int, seconds: Iterable[int]) -> dict[int, int]:
    """A session's seconds as masks of the UTC minutes they fall in."""
    masks: dict[int, int] = {}
    for second in seconds:
        minute, index = divmod(origin + second, 60)
        masks[minute] = masks.get(minute, 0) | 1 << index
    return masks


def minute_from_bitmap(data: bytes, first_byte: int, origin: int, minute: int) -> int:
    """The mask of a UTC minute out of a session's bitmap.

    `data` are the bitmap's bytes from index `first_byte` on (bit 0 is a byte's highest, as in
    Redis' SETBIT) and hold all of the minute that is set.
    """
    start = minute * 60 - origin
    mask = 0
    for index, byte in enumerate(data, first_byte):
        while byte:
            high = byte.bit_length() - 1
            byte ^= 1 << high
            second = index * 8 + 7 - high - start
            if 0 <= second < 60:
                mask |= 1 << second
    return mask


class SecondSet:
    """Seconds of one session, as a mask that starts at a floor, so that it stays small while a
    session goes on: the seconds waiting for the ledger, or those that are not durable yet."""

    __slots__ = ("_floor", "mask")

    def __init__(self) -> None:
        self._floor = 0
        self.mask = 0  # from the floor on; to be read, to ask cheaply whether there are any

    def __bool__(self) -> bool:
        return self.mask != 0

    def __len__(self) -> int:
        return self.mask.bit_count()

    def add(self, first: int, last: int) -> None:
        """Add the seconds from `first` to `last`, inclusive."""
        run = (1 << (last - first + 1)) - 1
        if not self.mask:
            self._floor, self.mask = first, run
            return
        if first < self._floor:
            self.mask <<= self._floor - first
            self._floor = first
        self.mask |= run << (first - self._floor)

    def take(self, most: int) -> tuple[Range, ...]:
        """Remove the lowest seconds, as `most` ascending inclusive ranges at the most."""
        mask = self.mask
        if mask & (mask + 1) == 0:  # one run from the floor on, or nothing: a live session's usual
            self.mask = 0
            return ((self._floor, self._floor + mask.bit_length() - 1),) if mask else ()
        ranges = tuple(islice(ranges_of(mask, self._floor), most))
        self.discard_through(ranges[-1][1])
        return ranges

    def clear(self) -> None:
        """Remove all."""
        self.mask = 0

    def merge(self, other: "SecondSet") -> None:
        """Add all of `other`."""
        if not self.mask:
            self._floor, self.mask = other._floor, other.mask
        elif other.mask:
            floor = min(self._floor, other._floor)
            self.mask = self.mask << self._floor - floor | other.mask << other._floor - floor
            self._floor = floor

    def discard_through(self, last: int) -> None:
        """Remove the seconds up to `last`, inclusive."""
        if last >= self._floor:
            self.mask >>= last + 1 - self._floor
            self._floor = last + 1

    def discard_from(self, first: int) -> None:
        """Remove the seconds from `first` on."""
        self.mask &= (1 << max(first - self._floor, 0)) - 1

    def lowest(self) -> int:
        """The lowest second of a set that isn't empty."""
        return self._floor + (self.mask & -self.mask).bit_length() - 1

    def highest(self) -> int:
        """The highest second; -1 of an empty set."""
        return self._floor + self.mask.bit_length() - 1 if self.mask else -1

    def ranges(self) -> tuple[Range, ...]:
        """Ascending inclusive ranges."""
        return tuple(ranges_of(self.mask, self._floor))
