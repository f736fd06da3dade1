"""How what is watched is read: once a second, however many watch it.

Level-triggered: each reading gives the present state, and replaces the one before. So nothing hangs
on a message that might be missed, and a slow reader costs no more than a quick one.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from gateway.feed import PERIOD_SECONDS

logger = logging.getLogger(__name__)

View = TypeVar("View")


class Watcher(Generic[View]):
    """One who watches. Only the newest view is kept; `shown` is the one it is done with."""

    def __init__(self) -> None:
        self.shown: View | None = None
        self._view: View | None = None
        self._news = asyncio.Event()

    def show(self, view: View) -> None:
        """It was read. A view that is the same object as before is no news."""
        if view is not self.shown:
            self._view = view
            self._news.set()

    def look_away(self) -> None:
        """It watches something else from now on, and is to be told of it in any case."""
        self.shown = None
        self._news.clear()

    async def news(self) -> View:
        """The newest view, once there is one that isn't `shown`."""
        await self._news.wait()
        self._news.clear()
        assert self._view is not None
        return self._view


class Rounds:
    """Calls `read` for ever: once a second for everything (`True`), and soon after `wake` for what
    is newly watched. It says whether it could read."""

    def __init__(self, read: Callable[[bool], Awaitable[bool]]) -> None:
        self._read = read
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something is newly watched."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        tick = time.monotonic()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(tick - time.monotonic(), 0)):
                    await self._wake.wait()
            self._wake.clear()
            now = time.monotonic()
            everything = now >= tick
            if everything:
                tick += PERIOD_SECONDS
                if tick <= now:  # far too late: don't catch up
                    tick = now + PERIOD_SECONDS
            try:
                seen = await self._read(everything)
            except Exception:
                logger.exception("reading goes on after")
                seen = False
            if not seen:  # then nobody is let in between the ticks either
                await asyncio.sleep(max(tick - time.monotonic(), 0))
