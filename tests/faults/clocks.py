"""Faults of clocks. The server's is Valkey's: the function library is loaded with one that is
wrong, and with the right one again afterwards. Gateways have clocks of their own."""

import asyncio
import random

from meter.ledger.functions import LIBRARY, Library
from tests.faults.launch import CLOCK_AHEAD
from tests.faults.processes import restart
from tests.faults.stage import Stage
from tests.faults.stores import command

HOUR_SECONDS = 3600
APART_SECONDS = 3
_TIME = "local t = call('TIME')"


async def ahead(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """It is set an hour forward, and back."""
    await _set_clock(stage, HOUR_SECONDS, seconds)


async def behind(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """It is set an hour back, and forward again."""
    await _set_clock(stage, -HOUR_SECONDS, seconds)


async def steps(stage: Stage, chance: random.Random, seconds: float) -> None:
    """It is set by a few seconds, either way."""
    await _set_clock(stage, chance.choice((-3, 3)), seconds)


async def apart(stage: Stage, chance: random.Random, seconds: float) -> None:
    """One gateway's own clock is 3 seconds off the others', either way, and they all are in use."""
    unit = chance.choice(stage.house.gateways)
    await restart(unit, {CLOCK_AHEAD: str(chance.choice((-APART_SECONDS, APART_SECONDS)))})
    stage.house.front.cut(0.5)  # some change from one clock to the other
    await asyncio.sleep(seconds)
    stage.house.front.cut(0.5)
    await asyncio.sleep(1)
    await restart(unit, {})


async def clients_ahead(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Clocks of a third of the recorders are set an hour forward, as after sleep, and back."""
    await _set_clients(stage, chance, HOUR_SECONDS, seconds)


async def clients_behind(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Clocks of a third of the recorders are set an hour back, and forward again."""
    await _set_clients(stage, chance, -HOUR_SECONDS, seconds)


async def _set_clients(
    stage: Stage, chance: random.Random, by_seconds: int, seconds: float
) -> None:
    clocks = [each.clock for each in list(stage.crowd.running) if chance.random() < 0.33]
    for clock in clocks:
        clock.wall_ahead_seconds += by_seconds
    await asyncio.sleep(seconds)
    for clock in clocks:
        clock.wall_ahead_seconds -= by_seconds


async def _set_clock(stage: Stage, by_seconds: int, seconds: float) -> None:
    # A session that begins in the future has no second that may be counted until then.
    stage.may_start.clear()
    # From before it is set until what was sent meanwhile has been heard.
    stage.crowd.server.behind_seconds = max(-by_seconds, 0)
    try:
        await load(stage, with_clock(LIBRARY, by_seconds))
        await asyncio.sleep(seconds)
    finally:
        await load(stage, LIBRARY.text)
        stage.crowd.server.behind_seconds = 0
        stage.may_start.set()


def with_clock(library: Library, ahead_seconds: int) -> str:
    """The library's text with a clock that is so far ahead."""
    assert library.text.count(_TIME) == 1
    return library.text.replace(_TIME, f"{_TIME}; t[1] = t[1] + {ahead_seconds}")


async def load(stage: Stage, library: str) -> None:
    """Put the functions into Valkey."""
    await command(stage.house.valkey, "FUNCTION LOAD", "REPLACE", library)
