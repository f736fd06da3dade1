"""A storm: thousands of recorders lose their connections at once, and all come back. First the
network breaks, then the gateways die. Afterwards every second is compared."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import growth
from tests.faults.ask import ask, settled
from tests.faults.house import House
from tests.faults.judge import Verdict, judge
from tests.faults.light import Herd
from tests.faults.processes import kill_and_start

RECORDERS_AN_ACCOUNT = 50
STARTS_A_SECOND = 500
BETWEEN_SECONDS = 8.0
BACK_SECONDS = 60.0
END_SECONDS = 60.0
KILLED_SECONDS = 1.0


@dataclass
class Comeback:
    """How long it took until so many were back, and how many that were in the second in which
    most were."""

    what: str
    back: int
    seconds: float
    most_a_second: int


@dataclass
class StormOutcome:
    """What came of it."""

    recorders: int
    seed: int
    verdict: Verdict
    comebacks: list[Comeback]
    ends: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0

    @property
    def good(self) -> bool:
        """Whether all came back, and nothing is wrong."""
        return self.verdict.good


class Storm:
    """Made once, run once."""

    def __init__(
        self,
        directory: Path,
        recorders: int,
        seed: int,
        between_seconds: float = BETWEEN_SECONDS,
    ) -> None:
        self.phase = "starting"
        self._directory = directory
        self._number = recorders
        self._seed = seed
        self._between_seconds = between_seconds
        self._problems: list[str] = []

    async def run(self) -> StormOutcome:
        """Raises what went wrong with the machinery itself."""
        house = House(self._directory, seed=self._seed)
        async with house:
            sizes = await growth.measure(house)
            herd = Herd(house.gateway_urls, self._seed)
            herd.start()
            try:
                comebacks = await self._play(house, herd)
            finally:
                await herd.stop()
            if not await settled(house, END_SECONDS):
                self._problems.append("the ledger has live sessions, or what is not durable")
            self.phase = "comparing"
            verdict = judge(herd.books, await ask(house, herd.books))
            verdict.findings += [*self._problems, *await growth.compare(house, sizes)]
        return StormOutcome(
            self._number,
            self._seed,
            verdict,
            comebacks,
            Counter(book.end.reason if book.end else "none" for book in herd.books),
            sum(max(book.connections - 1, 0) for book in herd.books),
        )

    async def _play(self, house: House, herd: Herd) -> list[Comeback]:
        self.phase = "connecting"
        for number in range(self._number):
            organization = f"storm-{number // RECORDERS_AN_ACCOUNT}"
            user = f"user-{number % RECORDERS_AN_ACCOUNT}"
            herd.add(organization, user, house.token(organization, user))
            if number % 50 == 49:
                await asyncio.sleep(50 / STARTS_A_SECOND)
        await self._all_live(herd)
        await asyncio.sleep(self._between_seconds)
        comebacks = [await self._cut(herd)]
        await asyncio.sleep(self._between_seconds)
        comebacks.append(await self._kill(house, herd))
        await asyncio.sleep(self._between_seconds)
        self.phase = "ending"
        for recorder in herd.recorders:
            recorder.finish()
        await self._wait(lambda: herd.over == self._number, END_SECONDS, "did not end", herd)
        return comebacks

    async def _cut(self, herd: Herd) -> Comeback:
        self.phase = "all connections are cut"
        began = time.monotonic()
        for recorder in herd.recorders:
            recorder.cut()
        return await self._comeback("all connections cut", began, herd)

    async def _kill(self, house: House, herd: Herd) -> Comeback:
        self.phase = "all gateways are killed"
        began = time.monotonic()
        await kill_and_start(house.gateways, KILLED_SECONDS)
        return await self._comeback("all gateways killed", began, herd)

    async def _comeback(self, what: str, began: float, herd: Herd) -> Comeback:
        await asyncio.sleep(0.5)  # they have noticed
        await self._all_live(herd)
        times = [book.started_at for book in herd.books if book.started_at]
        back = [moment for moment in times if moment > began]
        seconds = Counter(int(moment - began) for moment in back)
        return Comeback(
            what, len(back), max(back, default=began) - began, max(seconds.values(), default=0)
        )

    async def _all_live(self, herd: Herd) -> None:
        await self._wait(lambda: herd.live == self._number, BACK_SECONDS, "is not back", herd)

    async def _wait(self, done: Callable[[], bool], seconds: float, what: str, herd: Herd) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                waiting = [each for each in herd.recorders if not (each.live or each.core.over)]
                self._problems.append(f"{self.phase}: {len(waiting) or 'some'} {what}")
                return
            await asyncio.sleep(0.1)
