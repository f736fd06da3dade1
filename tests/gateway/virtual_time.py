"""An event loop whose time goes on only when nothing is left to do: an hour of pauses takes as long
as what is done in it, and the same work always comes in the same order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Jump(selectors.SelectSelector):
    """Waits for nothing: it moves the loop's time on instead."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing ever comes from outside."""
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.loop.passed += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`passed` are the seconds since it began."""

    def __init__(self) -> None:
        self.passed = 0.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """As `time.monotonic`."""
        return self.passed


class VirtualClock:
    """In place of the module `time`, where one is asked for a time."""

    def __init__(self, loop: VirtualLoop, epoch: float) -> None:
        self._loop = loop
        self._epoch = epoch

    def monotonic(self) -> float:
        """Seconds since the loop began."""
        return self._loop.passed

    def time(self) -> float:
        """Epoch seconds."""
        return self._epoch + self._loop.passed


def run_on(loop: VirtualLoop, work: Coroutine[Any, Any, Result]) -> Result:
    """Do all of `work`, cancel what it left behind, and close the loop."""
    try:
        return loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
