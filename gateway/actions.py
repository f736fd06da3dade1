"""What a recorder's session asks its driver to do. Pure."""

from dataclasses import dataclass

from msgspec import Struct

from meter.codes import CloseCode, EndReason
from meter.ledger.types import OpenRequest
from meter.messages import ServerMessage


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """In seconds. `ack` is the longest time between acks, as the client is told; the session aims
    a second below it, so that a heartbeat a second makes it."""

    ack: int = 6
    start_timeout: float = 10.0
    token_grace: float = 60.0
    stop_grace: int = 10


class Send(Struct, frozen=True):
    """Send a message."""

    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, after all that was sent."""

    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Verify a token; answer with `authenticated` or `refused`."""

    token: str


@dataclass(frozen=True, slots=True)
class Open:
    """Open the session in the ledger; answer with `opened` or `unavailable`."""

    request: OpenRequest


@dataclass(frozen=True, slots=True)
class Queue:
    """Count what is pending soon: `take` it, and answer with `counted` or `not_counted`."""


# It says nothing but that, so there is one.
QUEUE = Queue()


@dataclass(frozen=True, slots=True)
class End:
    """End the session in the ledger; answer with `ended`."""

    reason: EndReason


Action = Send | Close | Authenticate | Open | Queue | End
