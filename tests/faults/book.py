"""What a recorder writes down of its session, in epoch seconds: all that its bill is judged by."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from minute_meter.ends import End


@dataclass
class Book:
    """One session's. Times named `_at` are monotonic seconds of the driver's clock.

    `recorded`: seconds in which it recorded, by the session's origin. `refused`: those of them that
    the server refused for good, by the code that it gave. `durable`: those that it called durable.
    `doubtful`: those that were held at the end, where some had been refused for being too early,
    and those that the server's clock had numbered far ahead, if it refused some once set back.
    `abandoned`: the recorder vanished, and what it still held went with it. `superseded`: it was
    told that another connection speaks for the session.
    """

    session_id: UUID
    organization_id: str
    user_id: str
    recorded: set[int] = field(default_factory=set)
    refused: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    durable: set[int] = field(default_factory=set)
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
    end: End | None = None

    def refuse(self, code: str, seconds: Iterable[int]) -> None:
        """The server refused these of the recorded seconds."""
        self.refused[code].update(set(seconds) & self.recorded)

    @property
    def claimed(self) -> set[int]:
        """What was recorded and not refused by the clock."""
        return self.recorded.difference(*self.refused.values())

    @property
    def owed(self) -> set[int]:
        """What has to be billed, as far as limits allow."""
        if self.abandoned or self.superseded:
            return self.durable
        return self.claimed - self.doubtful
