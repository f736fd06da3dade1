"""A fuzzer's bytes as decisions: which step comes next, which number, which frame."""

from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice")

# Numbers at which something turns.
_EDGES = (0, -1, 1, 7, 8, 59, 60, 399, 400, 402, 403, 2**31, 2**53, -(2**53), 2**53 + 1, 2**64)

_TEMPLATES = (
    b'{"type":"heartbeat","second":%d}',
    b'{"type":"heartbeat","from":%d,"to":%d}',
    b'{"type":"stop"}',
    b'{"type":"refresh","token":"t"}',
    b'{"type":"start","token":"t","session_id":"00000000-0000-0000-0000-000000000001"}',
    b'{"type":"start","token":"t","session_id":"00000000-0000-0000-0000-000000000001","origin":%d}',
)
_NESTED = (
    b'{"type":"start","token":"t","session_id":"00000000-0000-0000-0000-000000000001",'
    b'"metadata":{"a":%s%s}}'
)
_MAX_DEPTH = 1500


class Source:
    """Bytes that are used up; after the last one, all are zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """0 to 255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def choose(self, among: Sequence[Choice]) -> Choice:
        """One of these."""
        return among[self.byte() % len(among)]

    def number(self) -> int:
        """Mostly small; or one at which something turns."""
        first = self.byte()
        if first < 160:
            return first * 3
        return _EDGES[first % len(_EDGES)] + self.byte() % 3 - 1

    def some(self) -> bytes:
        """Up to 255 of them."""
        length = self.byte()
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        at, self._at = self._at, len(self._data)
        return self._data[at:]

    def frame(self) -> bytes:
        """A recorder's message, or one with a byte that is another."""
        if self.byte() % 32 == 31:
            depth = self.byte() * 256 + self.byte()
            return _NESTED % (b"[" * (depth % _MAX_DEPTH), b"]" * (depth % _MAX_DEPTH))
        template = self.choose(_TEMPLATES)
        frame = bytearray(template % tuple(self.number() for _ in range(template.count(b"%d"))))
        if self.byte() % 8 == 0:
            frame[self.byte() % len(frame)] = self.byte()
        return bytes(frame)
