"""Faults of the product's own processes."""

import asyncio
import random
from collections.abc import Sequence

from meter.ledger.functions import VERSION
from tests.faults.house import Unit
from tests.faults.launch import LIBRARY_VERSION
from tests.faults.programs import Gateway
from tests.faults.proxy import Direction, Proxy, Tripwire
from tests.faults.stage import Stage

# A batch is counted well within this.
IN_FLIGHT_SECONDS = 0.3
TRIP_SECONDS = 5.0
NOT_TRIPPED = "not tripped"
UP, DOWN = frozenset({Direction.UP}), frozenset({Direction.DOWN})


async def kill_gateway(stage: Stage, chance: random.Random, seconds: float) -> None:
    """SIGKILL to one."""
    await kill_and_start([chance.choice(stage.house.gateways)], seconds)


async def kill_gateways(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """SIGKILL to all of them."""
    await kill_and_start(stage.house.gateways, seconds)


async def kill_flusher(stage: Stage, chance: random.Random, seconds: float) -> None:
    """SIGKILL to one."""
    await kill_and_start([chance.choice(stage.house.flushers)], seconds)


async def kill_all(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """SIGKILL to all gateways and flushers."""
    await kill_and_start(stage.house.units, seconds)


async def kill_unanswered(stage: Stage, chance: random.Random, seconds: float) -> str:
    """A gateway dies after the ledger has counted, and before it heard so."""
    unit = chance.choice(stage.house.gateways)
    missed = await trip(unit.redis, Tripwire(b"_count\r\n", DOWN))
    await asyncio.sleep(IN_FLIGHT_SECONDS)
    await kill_and_start([unit], seconds)
    return missed


async def kill_unsettled(stage: Stage, chance: random.Random, seconds: float) -> str:
    """A flusher dies after Postgres has committed, and before the ledger was told."""
    unit = chance.choice(stage.house.flushers)
    missed = await trip(unit.redis, Tripwire(b"_settle\r\n", UP))
    await kill_and_start([unit], seconds)
    return missed


async def kill_writing(stage: Stage, chance: random.Random, seconds: float) -> str:
    """A flusher dies in the middle of a transaction: some of its batch is written."""
    unit = chance.choice(stage.house.flushers)
    missed = await trip(unit.postgres, Tripwire(b"COPY", UP))
    await kill_and_start([unit], seconds)
    return missed


async def trip(way: Proxy, wire: Tripwire) -> str:
    """Wait until it is tripped; not for long, where its time doesn't come: then that is said."""
    way.tripwire = wire
    try:
        async with asyncio.timeout(TRIP_SECONDS):
            await wire.tripped.wait()
    except TimeoutError:
        return NOT_TRIPPED
    return ""


async def renew(stage: Stage, chance: random.Random, seconds: float) -> None:
    """One gateway and one flusher are of the next release, with another version of the server
    functions, while the others go on with theirs; and it is taken back."""
    units = [chance.choice(stage.house.gateways), chance.choice(stage.house.flushers)]
    for unit in units:
        await restart(unit, {LIBRARY_VERSION: str(VERSION + 1)})
    stage.house.front.cut(0.5)  # some change from one release to the other
    await asyncio.sleep(seconds)
    for unit in units:
        await restart(unit, {})


async def roll(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """SIGTERM to one gateway after the other, each started again."""
    for unit in stage.house.gateways:
        await asyncio.to_thread(unit.program.stop)
        await start(unit)
        await asyncio.sleep(seconds)


async def kill_and_start(units: Sequence[Unit], seconds: float) -> None:
    """SIGKILL, and a start so long after it."""
    await asyncio.gather(*(asyncio.to_thread(unit.program.kill) for unit in units))
    await asyncio.sleep(seconds)
    for unit in units:
        await start(unit)


async def restart(unit: Unit, oddities: dict[str, str]) -> None:
    """SIGTERM, and a start with these oddities (see `launch.py`)."""
    await asyncio.to_thread(unit.program.stop)
    unit.program.oddities = oddities
    await start(unit)


async def start(unit: Unit) -> None:
    """Start it again, on ways that work."""
    for way in (unit.redis, unit.postgres):
        way.cut()
        way.heal()
    await asyncio.to_thread(unit.program.start)
    if isinstance(unit.program, Gateway):
        await unit.program.wait_ready("/healthz")
