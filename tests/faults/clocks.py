"""Faults of the server's clock, which is Valkey's: the function library is loaded with one that is
wrong, and with the right one again afterwards."""

import asyncio
import random

from meter.ledger.driver import LIBRARY
from tests.faults.stage import Stage
from tests.faults.stores import command

HOUR_SECONDS = 3600
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


async def _set_clock(stage: Stage, by_seconds: int, seconds: float) -> None:
    # A session that begins in the future has no second that may be counted until then.
    stage.may_start.clear()
    try:
        await _load(stage, _library(by_seconds))
        await asyncio.sleep(seconds)
    finally:
        await _load(stage, LIBRARY)
        stage.may_start.set()


def _library(by_seconds: int) -> str:
    assert LIBRARY.count(_TIME) == 1
    return LIBRARY.replace(_TIME, f"{_TIME}; t[1] = t[1] + {by_seconds}")


async def _load(stage: Stage, library: str) -> None:
    await command(stage.house.valkey, "FUNCTION LOAD", "REPLACE", library)
