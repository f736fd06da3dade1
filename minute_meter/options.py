"""How long a recorder waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. `open`: for one connection's handshake, and for a fresh token. `start`: for the
    session's first start, over several attempts. `stop`: for the confirmation of its end, over
    reconnects."""

    open_seconds: float = 10.0
    start_seconds: float = 30.0
    stop_seconds: float = 30.0
