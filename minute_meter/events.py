"""What the session's state machine tells its driver."""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from meter.messages import Started, StopNotice, Warning
from meter.seconds import Range
from minute_meter.wire import Ack


class Phase(Enum):
    """Where the connection is."""

    WAITING = auto()  # until `connect_at`
    CONNECTING = auto()
    STARTING = auto()  # `start` sent, not answered
    LIVE = auto()
    OVER = auto()


class Drop(StrEnum):
    """Why the driver is to drop the connection."""

    DEAD = "dead"  # don't wait for a closing handshake
    MOVE = "move"  # the gateway asked to come back elsewhere
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Refused:
    """Seconds that the server refused: too far ahead of or behind its clock, or from before the
    session began (`seconds` are known only then). Those ahead are sent again when they are due."""

    code: str
    message: str
    seconds: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class HeartbeatSent:
    """The connection's heartbeat frame number `frame` (from 1) goes out."""

    frame: int
    first: int
    last: int


Event = Started | Ack | Warning | StopNotice | Refused | HeartbeatSent
