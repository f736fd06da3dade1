"""What the nemesis says of the faults that it did."""

import random
from typing import Any, cast

import pytest

from tests.faults import processes
from tests.faults.faults import FAULTS, Act, Fault
from tests.faults.losses import Losses
from tests.faults.nemesis import Nemesis, Planned
from tests.faults.proxy import Proxy, Tripwire
from tests.faults.recorder import Clock
from tests.faults.stage import Stage

NO_STAGE = cast(Stage, None)


async def done(act: Act) -> Nemesis:
    """A nemesis that has done one fault."""
    fault = Fault("a gateway dies", act, frozenset(), (0, 0))
    nemesis = Nemesis(NO_STAGE, iter([Planned(fault, 0, 0, 1, alone=True)]))
    await nemesis.run(0.2)
    return nemesis


async def test_a_fault_that_missed_its_moment_is_not_counted_under_its_name() -> None:
    async def missed(_stage: Stage, _chance: random.Random, _seconds: float) -> str:
        return processes.NOT_TRIPPED

    async def hit(_stage: Stage, _chance: random.Random, _seconds: float) -> None:
        pass

    assert (await done(missed)).done == {"a gateway dies (not tripped)": 1}
    assert (await done(hit)).done == {"a gateway dies": 1}


async def test_a_wire_that_nobody_trips_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TRIP_SECONDS", 0.01)
    way: Any = type("Way", (), {})()
    assert await processes.trip(cast(Proxy, way), Tripwire(b"x", processes.UP)) == "not tripped"
    wire = Tripwire(b"x", processes.UP)
    wire.tripped.set()
    assert await processes.trip(cast(Proxy, way), wire) == ""


async def test_what_keeps_seconds_from_becoming_durable_is_noted() -> None:
    kinds = {fault.name: fault for fault in FAULTS}
    losses = Losses()
    for name, began in (("postgres stopped", 10.0), ("valkey stalled", 20.0), ("clients cut", 30)):
        fault = kinds[name]
        losses.note(fault.needs, began, began + 5, silences=fault.silences)
    assert losses.hindered == [(10.0, 15.0), (20.0, 25.0)]
    assert losses.silenced == [(20.0, 25.0)]
    assert losses.front == [(30.0, 35.0)]


def test_a_clock_that_is_set_is_so_for_the_wall_and_not_for_the_monotonic_one() -> None:
    clock = Clock()
    wall, now = clock.wall(), clock.now()
    clock.wall_ahead_seconds += 3600
    assert clock.wall() - wall >= 3600
    assert clock.now() - now < 60
