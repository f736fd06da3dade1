"""Many recorders in one event loop."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from tests.faults.book import Book
from tests.faults.habits import Steady
from tests.faults.house import House
from tests.faults.recorder import Clock, Habit, ServerClock, SimulatedRecorder


class Crowd:
    """Recorders on a house's gateways, and the books of all of them, of the ended ones too.
    `failures` are of the recorders' own."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.seed = seed
        self.books: list[Book] = []
        self.running: dict[SimulatedRecorder, asyncio.Task[None]] = {}
        self.failures: list[str] = []
        self.server = ServerClock()

    def start(
        self,
        organization_id: str,
        user_id: str,
        habit: Habit | None = None,
        *,
        session_id: UUID | None = None,
        clock: Clock | None = None,
    ) -> SimulatedRecorder:
        """A new session."""
        book = Book(session_id or uuid4(), organization_id, user_id)
        token = self.house.token(organization_id, user_id)
        seed = self.seed * 1_000_003 + len(self.books)
        recorder = SimulatedRecorder(
            book,
            self.house.record_url,
            token,
            habit or Steady(seed),
            seed=seed,
            clock=clock,
            server=self.server,
            served=self.house.front.served,
        )
        self.books.append(book)
        task = asyncio.create_task(recorder.run())
        self.running[recorder] = task
        task.add_done_callback(lambda task: self._ended(recorder, task))
        return recorder

    def _ended(self, recorder: SimulatedRecorder, task: "asyncio.Task[None]") -> None:
        self.running.pop(recorder, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(f"recorder {recorder.book.session_id} failed: {error!r}")

    async def finish(self, seconds: float) -> bool:
        """End all sessions; whether all had their end confirmed in time."""
        for recorder in list(self.running):
            recorder.finish()
        return await self.over(seconds)

    async def over(self, seconds: float) -> bool:
        """Wait until all sessions are over; whether they were in time."""
        tasks = list(self.running.values())
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        return not pending

    async def leave(self) -> None:
        """Cut off whoever is still there."""
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Return once it holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.01)
