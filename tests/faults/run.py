"""One run: a house, a crowd that goes on recording, a nemesis, a quiet time, a verdict."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from persistence.limits import set_limit
from tests.faults import growth
from tests.faults.ask import ask, settled
from tests.faults.crowd import Crowd
from tests.faults.faults import FAULTS, Fault
from tests.faults.habits import Steady
from tests.faults.house import House
from tests.faults.judge import Caps, Verdict, judge
from tests.faults.losses import Losses
from tests.faults.nemesis import Nemesis, plan
from tests.faults.programs import Gateway
from tests.faults.recorder import Clock
from tests.faults.stage import Stage

# Shorter than in production, so that a run of seconds sees sessions lost, resumed and drained.
SETTINGS = {
    "METER_LOST_AFTER_SECONDS": "12",
    "METER_ACK_SECONDS": "3",
    "METER_STOP_GRACE_SECONDS": "2",
    "METER_DRAIN_SECONDS": "1",
    "METER_FLUSH_LEASE_SECONDS": "3",
    "METER_FLUSH_TIMEOUT_SECONDS": "4",
    # So small that a flusher dies between two of a turn's batches, too.
    "METER_FLUSH_BATCH_ROWS": "40",
}
# A recorder that numbered seconds by a clock since set back takes a minute to learn that.
FINISH_SECONDS = 100.0
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """What to run. `accounts` organizations, every third of them with limits."""

    seconds: float
    seed: int
    recorders: int = 150
    accounts: int = 24
    gateways: int = 2
    flushers: int = 2
    session_seconds: tuple[float, float] = (5.0, 90.0)
    # The seconds an organization's limit has for each of its recorders.
    limit_share: tuple[float, float] = (0.2, 0.7)
    faults: Sequence[Fault] = FAULTS
    # Each kind comes once before any comes again; without, these too overlap.
    alone: bool = True


@dataclass
class Progress:
    """How far a run is."""

    phase: str = "starting"
    elapsed_seconds: float = 0.0
    active: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    live: int = 0
    recorded: int = 0


@dataclass
class Outcome:
    """What came of it: `faults` by name, `ends` of sessions by their reason."""

    options: Options
    verdict: Verdict
    faults: Counter[str]
    log: list[str]
    ends: Counter[str]
    reconnects: int
    new_origins: int

    @property
    def good(self) -> bool:
        """Whether nothing was lost, nothing twice, and nothing else is wrong."""
        return self.verdict.good


class Run:
    """Made once, run once."""

    def __init__(self, options: Options, directory: Path) -> None:
        self.options = options
        self.progress = Progress()
        self._directory = directory
        self._caps = Caps()
        self._began = time.monotonic()
        self._chance = random.Random(options.seed)

    async def run(self) -> Outcome:
        """Raises what went wrong with the machinery itself."""
        options = self.options
        house = House(
            self._directory,
            gateways=options.gateways,
            flushers=options.flushers,
            settings=SETTINGS,
            seed=options.seed,
        )
        async with house:
            self._caps = await self._limit(house)
            stage = Stage(house, Crowd(house, options.seed))
            sizes = await self._warm_up(stage)
            nemesis = Nemesis(stage, plan(options.seed, options.faults, alone=options.alone))
            async with self._showing(stage, nemesis):
                problems = await self._play(stage, nemesis)
                verdict = await self._verdict(stage, nemesis.losses, problems, sizes)
            return self._outcome(stage, nemesis, verdict)

    async def _play(self, stage: Stage, nemesis: Nemesis) -> list[str]:
        options, crowd = self.options, stage.crowd
        self.progress.phase = "faults"
        slots = [
            asyncio.create_task(self._slot(stage, number)) for number in range(options.recorders)
        ]
        try:
            await asyncio.sleep(1.0)
            await nemesis.run(options.seconds)
        finally:
            for slot in slots:
                slot.cancel()
            await asyncio.gather(*slots, return_exceptions=True)
        problems = list(nemesis.failures)
        problems += [f"a slot failed: {slot.exception()!r}" for slot in slots if _failed(slot)]
        self.progress.phase = "quiet"
        for proxy in stage.house.proxies:
            proxy.heal()
        if not await crowd.finish(FINISH_SECONDS):
            problems += [
                f"session {recorder.book.session_id} did not end: {recorder.core.phase}, "
                f"held {recorder.core.held.ranges()}, origin {recorder.core.origin}"
                for recorder in crowd.running
            ]
        await self._visit(crowd)
        await crowd.leave()
        if not await settled(stage.house, SETTLE_SECONDS):
            problems.append("the ledger still has live sessions, or what is not durable")
        return problems + crowd.failures

    async def _visit(self, crowd: Crowd) -> None:
        """Somebody of each organization comes by: where Valkey came back empty and nobody did, it
        still knows nothing of the organization, and can't end what was live."""
        for number in range(self.options.accounts):
            crowd.start(_organization(number), "visitor").finish()
        await crowd.over(FINISH_SECONDS)

    async def _warm_up(self, stage: Stage) -> growth.Sizes:
        """Each process has done some of all that it does; what it holds then, when all is quiet."""
        await self._visit(stage.crowd)
        await settled(stage.house, SETTLE_SECONDS)
        return await growth.measure(stage.house)

    async def _verdict(
        self, stage: Stage, losses: Losses, problems: list[str], sizes: growth.Sizes
    ) -> Verdict:
        self.progress.phase = "comparing"
        house = stage.house
        losses.valkey = house.valkey_lost
        losses.gateways = {
            unit.program.port: unit.program.gone
            for unit in house.gateways
            if isinstance(unit.program, Gateway)
        }
        bill = await ask(house, stage.crowd.books)
        verdict = judge(stage.crowd.books, bill, self._caps, losses)
        verdict.findings += [*problems, *await growth.compare(stage.house, sizes)]
        return verdict

    def _outcome(self, stage: Stage, nemesis: Nemesis, verdict: Verdict) -> Outcome:
        books = stage.crowd.books
        return Outcome(
            options=self.options,
            verdict=verdict,
            faults=nemesis.done,
            log=nemesis.log,
            ends=Counter(
                "vanished" if book.abandoned else book.end.reason if book.end else "none"
                for book in books
            ),
            reconnects=sum(max(book.connections - 1, 0) for book in books),
            new_origins=sum(book.new_origins for book in books),
        )

    # Accounts and recorders -----------------------------------------------------------------------

    async def _limit(self, house: House) -> Caps:
        """Every third organization has a limit that is reached on the way; every third of the
        others has a member with one."""
        options, chance = self.options, self._chance
        each = options.seconds * options.recorders / options.accounts
        organizations: dict[str, int] = {}
        members: dict[tuple[str, str], int] = {}
        for number in range(options.accounts):
            limit = int(each * chance.uniform(*options.limit_share))
            if number % 3 == 0:
                organizations[_organization(number)] = limit
            if number % 3 != 2:
                members[_organization(number), _user(0)] = limit // 3
        url = house.postgres.url
        for organization, limit in organizations.items():
            await set_limit(url, organization, None, limit)
        for (organization, user), limit in members.items():
            await set_limit(url, organization, user, limit)
        return Caps(organizations, members)

    async def _slot(self, stage: Stage, number: int) -> None:
        """One recording after another, as one of an organization's members."""
        options = self.options
        chance = random.Random(f"{options.seed}/{number}")
        organization = _organization(number % options.accounts)
        user = _user(number // options.accounts % 3)
        await asyncio.sleep(chance.uniform(0, 2))
        while True:
            await stage.may_start.wait()
            clock = Clock(chance.choice((1.0, 1.0, 1.0, 1.05, 0.95)))
            recorder = stage.crowd.start(organization, user, _habit(chance), clock=clock)
            task = stage.crowd.running[recorder]
            done, _ = await asyncio.wait({task}, timeout=chance.uniform(*options.session_seconds))
            # One that was last heard while the clock was ahead is not lost before it gets there.
            if not done and chance.random() < 0.15 and stage.may_start.is_set():
                task.cancel()
            elif not done:
                recorder.finish()
            await asyncio.wait({task})
            if recorder.book.end is not None and recorder.book.end.reason == "limit_reached":
                await asyncio.sleep(chance.uniform(5, 20))

    # Display --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _showing(self, stage: Stage, nemesis: Nemesis) -> AsyncIterator[None]:
        async def show() -> None:
            while True:
                progress, books = self.progress, stage.crowd.books
                progress.elapsed_seconds = time.monotonic() - self._began
                progress.active, progress.done = list(nemesis.active), Counter(nemesis.done)
                progress.sessions, progress.live = len(books), len(stage.crowd.running)
                progress.recorded = sum(len(book.recorded) for book in books)
                await asyncio.sleep(0.5)

        task = asyncio.create_task(show())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _failed(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _organization(number: int) -> str:
    return f"chaos-{number}"


def _user(number: int) -> str:
    return f"user-{number}"


def _habit(chance: random.Random) -> Steady:
    seed = chance.randrange(2**32)
    return chance.choice(
        (
            Steady(seed),
            Steady(seed, pausing=0.05),
            Steady(seed, every_seconds=chance.randint(2, 10), again=0.1),
            Steady(seed, again=0.3),
            Steady(seed, every_seconds=2, again=0.1, late=0.3),
        )
    )
