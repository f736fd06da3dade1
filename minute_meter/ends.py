"""The states of a session as its recorder sees them, and how one ended."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a recorder is doing."""

    CONNECTING = "connecting"  # for the first time
    RECORDING = "recording"
    PAUSED = "paused"
    RECONNECTING = "reconnecting"  # seconds are still recorded, and held
    STOPPING = "stopping"  # told to stop, by the program or the server; not confirmed yet
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended.

    `code` is the WebSocket close code, 1006 when there was none. `session_seconds` is what the
    session counted, as far as the server said; exact when `confirmed`: when `stopped` said it.
    `announced` is true when the program asked for the end, or was asked to stop by the server.
    """

    reason: str
    code: int
    session_seconds: int
    confirmed: bool
    announced: bool
    detail: str = ""
