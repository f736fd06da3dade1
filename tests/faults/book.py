"""What a recorder writes down of its session, in epoch seconds: all that its bill is judged by."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from meter.codes import CloseCode, EndReason, ErrorCode
from minute_meter.ends import End

# Codes that excuse a second from being billed.
REFUSALS = frozenset(
    {ErrorCode.SECOND_TOO_LATE, ErrorCode.SECOND_IN_FUTURE, ErrorCode.LIMIT_REACHED}
)


@dataclass
class Book:
    """One session's. Times named `_at` are monotonic seconds of the driver's clock.

    `recorded`: seconds in which it recorded, by the session's origin. `refused`: those of them that
    the server refused for good, by the code that it gave. `sent`: those that went out, or may have.
    `counted` and `durable`: those that an ack called so, once at least;
    what a limit refused is among them. `durable_seconds`: the most that the session had, as an ack
    said that called all of it durable. `doubtful`: those not
    counted that were held at the end, where some had been refused for being too early, and those
    that the server's clock had numbered far ahead, if it refused some once set back. `abandoned`:
    the recorder vanished, at `vanished_at`, and what it still held went with it. `superseded`: it
    was told that another connection speaks for the session.
    """

    session_id: UUID
    organization_id: str
    user_id: str
    recorded: set[int] = field(default_factory=set)
    refused: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    sent: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)
    durable: set[int] = field(default_factory=set)
    durable_seconds: int = 0
    doubtful: set[int] = field(default_factory=set)
    abandoned: bool = False
    superseded: bool = False
    connections: int = 0
    new_origins: int = 0
    refusals: int = 0
    started_at: float | None = None
    stop_told_at: float | None = None
    stop_reason: str = ""
    ended_at: float | None = None
    vanished_at: float | None = None
    end: End | None = None

    def refuse(self, code: str, seconds: Iterable[int]) -> None:
        """The server refused these of the recorded seconds. What it called durable it can't refuse,
        and no other code excuses it from counting."""
        if code in REFUSALS:
            self.refused[code].update((set(seconds) & self.recorded) - self.durable)

    @property
    def claimed(self) -> set[int]:
        """What was recorded and not refused by the clock."""
        return self.recorded.difference(*self.refused.values())

    @property
    def owed(self) -> set[int]:
        """What has to be billed, as far as limits allow."""
        if self.abandoned:  # its gateway gives back what was counted
            return self.durable | (self.counted & self.claimed)
        if self.superseded:
            return self.durable
        return (self.claimed - self.doubtful) | self.durable

    @property
    def limited(self) -> bool:
        """Whether the recorder was told that a limit is used up."""
        told = EndReason.LIMIT_REACHED
        return self.stop_reason == told or (
            self.end is not None
            and (self.end.reason == told or self.end.code == CloseCode.LIMIT_REACHED)
        )
