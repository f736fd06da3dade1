"""What a recorder writes down of its session, in epoch seconds: all that its bill is judged by."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from meter.codes import CloseCode, EndReason, ErrorCode
from minute_meter.ends import End

# Codes that excuse a second from being billed.
REFUSALS = frozenset(
    {ErrorCode.SECOND_TOO_LATE, ErrorCode.SECOND_IN_FUTURE, ErrorCode.LIMIT_REACHED}
)

# Within this, a gateway has been sent all that another one had before.
SENT_AGAIN_SECONDS = 5.0
# The server takes a second that is up to 2 ahead; one more may be lost in rounding.
SURELY_TAKEN_SECONDS = 2.0


@dataclass
class Book:
    """One session's. Times named `_at` are monotonic seconds of the driver's clock.

    `recorded`: seconds in which it recorded, by the session's origin. `refused`: those of them that
    the server refused for good, by the code that it gave. `sent`: those that went out, or may have.
    `counted` and `durable`: those that an ack called so, once at least;
    what a limit refused is among them. `confirmed`: when an ack first said that the session had as
    many seconds as were sent by then: none of those was refused. `durable_seconds`: the most that
    the session had, as an ack said that called all of it durable. `doubtful`: those not
    counted that were held at the end, where some had been refused for being too early, and those
    that the server's clock had numbered far ahead, if it refused some once set back; `ahead`: by
    how many seconds each of these was ahead of the server's clock, in truth, when it was sent last.
    `begun_anew`: from when it was last answered to when it was told of another beginning.
    `abandoned`: the recorder vanished, at `vanished_at`, and what it still held went with it; it
    was last answered at `heard_at`, by the `gateway` that has that port. `asked`: its driver asked
    for the end; `operator`: an operator did. `trail`: what it last saw.
    """

    session_id: UUID
    organization_id: str
    user_id: str
    recorded: set[int] = field(default_factory=set)
    refused: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    sent: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)
    confirmed: dict[int, float] = field(default_factory=dict)
    durable: set[int] = field(default_factory=set)
    durable_seconds: int = 0
    doubtful: set[int] = field(default_factory=set)
    ahead: dict[int, float] = field(default_factory=dict)
    abandoned: bool = False
    asked: bool = False
    operator: bool = False
    connections: int = 0
    begun_anew: list[tuple[float, float]] = field(default_factory=list)
    refusals: int = 0
    started_at: float | None = None
    stop_told_at: float | None = None
    stop_reason: str = ""
    ended_at: float | None = None
    vanished_at: float | None = None
    heard_at: float | None = None
    gateway: int | None = None
    end: End | None = None
    trail: deque[tuple[float, object]] = field(default_factory=lambda: deque(maxlen=60))

    def note(self, what: object) -> None:
        """Remember the last things that it saw: they are told of a session that lost some."""
        self.trail.append((time.monotonic(), what))

    @property
    def unanswered_seconds(self) -> int:
        """For how long nobody had answered at its end."""
        if self.ended_at is None or self.heard_at is None:
            return 0
        return math.ceil(self.ended_at - self.heard_at)

    def refuse(self, code: str, seconds: Iterable[int]) -> None:
        """The server refused these of the recorded seconds. What it called durable it can't refuse,
        and no other code excuses it from counting."""
        if code in REFUSALS:
            self.refused[code].update((set(seconds) & self.recorded) - self.durable)

    @property
    def new_origins(self) -> int:
        """How often it began anew."""
        return len(self.begun_anew)

    @property
    def holder(self) -> int | None:
        """The gateway that has what was counted of a recorder that vanished. It had just come to
        it: any of them, as another may have some of it yet."""
        just_came = (self.vanished_at or 0.0) - (self.started_at or 0.0) < SENT_AGAIN_SECONDS
        return None if just_came else self.gateway

    @property
    def unsure(self) -> set[int]:
        """Those doubtful that the server may have refused, as they were ahead of its clock."""
        return {s for s in self.doubtful if self.ahead.get(s, 0.0) >= SURELY_TAKEN_SECONDS}

    @property
    def claimed(self) -> set[int]:
        """What was recorded and not refused by the clock."""
        return self.recorded.difference(*self.refused.values())

    @property
    def owed(self) -> set[int]:
        """What has to be billed, as far as limits allow."""
        if self.abandoned:  # its gateway gives back what was counted
            return self.durable | ((self.counted & self.claimed) - self.unsure)
        return (self.claimed - self.unsure) | self.durable

    @property
    def limited(self) -> bool:
        """Whether the recorder was told that a limit is used up."""
        told = EndReason.LIMIT_REACHED
        return self.stop_reason == told or (
            self.end is not None
            and (self.end.reason == told or self.end.code == CloseCode.LIMIT_REACHED)
        )
