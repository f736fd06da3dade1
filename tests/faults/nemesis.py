"""Decides what breaks when: each kind alone once, then several at a time, all from one seed."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.faults.faults import FAULTS, Fault
from tests.faults.losses import Losses
from tests.faults.stage import Stage

logger = logging.getLogger(__name__)

ALONE_PAUSE_SECONDS = (0.5, 2.0)
OVERLAP_PAUSE_SECONDS = (0.1, 3.0)
AT_ONCE = 3


@dataclass(frozen=True)
class Planned:
    """A fault, how long it lasts, how long after the one before it comes, and its own chance."""

    fault: Fault
    seconds: float
    pause_seconds: float
    seed: int
    alone: bool


def plan(seed: int, faults: Sequence[Fault] = FAULTS, *, alone: bool = True) -> Iterator[Planned]:
    """Without end: first each kind once, in some order (and alone), then any of them, several at a
    time. The same for a seed."""
    chance = random.Random(seed)
    shuffled = list(faults)
    chance.shuffle(shuffled)
    for fault in sorted(shuffled, key=_place):
        yield _planned(fault, chance, ALONE_PAUSE_SECONDS, alone=alone and not fault.beside)
    again = [fault for fault in faults if not (fault.first or fault.beside)]
    while again:
        yield _planned(chance.choice(again), chance, OVERLAP_PAUSE_SECONDS, alone=False)


def _place(fault: Fault) -> int:
    return 0 if fault.beside else 1 if fault.first else 2


def _planned(
    fault: Fault, chance: random.Random, pauses: tuple[float, float], *, alone: bool
) -> Planned:
    return Planned(
        fault,
        seconds=round(chance.uniform(*fault.seconds), 2),
        pause_seconds=round(chance.uniform(*pauses), 2),
        seed=chance.randrange(2**32),
        alone=alone,
    )


@dataclass
class Nemesis:
    """Carries a plan out on a stage. `done` counts by name; `log` says what was when; `failures`
    are of the nemesis' own; `losses` are when faults kept which part from working."""

    stage: Stage
    plan: Iterator[Planned]
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    active: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    losses: Losses = field(default_factory=Losses)
    _busy: set[str] = field(default_factory=set)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _beside: set[asyncio.Task[None]] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)

    async def run(self, seconds: float) -> None:
        """Break things for so long, then see to it that all is mended."""
        deadline = time.monotonic() + seconds
        for planned in self.plan:
            await asyncio.sleep(min(planned.pause_seconds, max(deadline - time.monotonic(), 0)))
            if planned.alone:
                await self._quiet()
            else:
                await self._room_for(planned.fault)
            if time.monotonic() >= deadline:
                break
            if time.monotonic() + planned.seconds <= deadline:  # else it's too long by now
                self._start(planned)
        await self._quiet()
        if self._beside:
            await asyncio.wait(self._beside)

    def _start(self, planned: Planned) -> None:
        self._busy |= planned.fault.needs
        task = asyncio.create_task(self._act(planned))
        among = self._beside if planned.fault.beside else self._running
        among.add(task)
        task.add_done_callback(among.discard)

    async def _act(self, planned: Planned) -> None:
        name = planned.fault.name
        began = time.monotonic()
        self.active.append(name)
        self._say(f"{name}, for {planned.seconds:g} s")
        try:
            missed = await planned.fault.act(
                self.stage, random.Random(planned.seed), planned.seconds
            )
        except Exception as error:
            logger.exception("the fault %r could not be done", name)
            self.failures.append(f"the fault {name!r} could not be done: {error!r}")
        else:
            self.done[f"{name} ({missed})" if missed else name] += 1
        finally:
            self.losses.note(
                planned.fault.needs,
                began,
                time.monotonic(),
                silences=planned.fault.silences,
            )
            self._say(f"{name}: over")
            self.active.remove(name)
            self._busy -= planned.fault.needs

    def _say(self, text: str) -> None:
        self.log.append(f"{time.monotonic() - self._began:7.2f} {text}")

    async def _room_for(self, fault: Fault) -> None:
        while len(self._running) >= AT_ONCE or fault.needs & self._busy:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _quiet(self) -> None:
        while self._running:
            await asyncio.wait(self._running)
