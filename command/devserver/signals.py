"""Orders to stop, by signal."""

import signal
import threading
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopOrders:
    """Counts the signals that say stop. Entered in the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._arrived = threading.Event()

    def __enter__(self) -> "StopOrders":
        for number in STOPPING:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)  # the process is about to end

    def wait(self, seconds: float) -> None:
        """Wait so long, or until one arrives."""
        self._arrived.wait(seconds)
        self._arrived.clear()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._arrived.set()
