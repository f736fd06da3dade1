"""Whether processes hold more after all that happened than they did when they had warmed up."""

import asyncio
import time
from collections.abc import Iterable, Mapping

from tests.faults.house import House, Unit
from tests.faults.programs import Size

SETTLE_SECONDS = 15.0
START_SECONDS = 30.0
# A gateway has up to 40 connections to the ledger and some to Postgres, and keeps them.
MOST_MADE = 64
# Of figures that come and go: a look that is under way, a descriptor of a name that is looked up.
SLACK = 3
# What an allocator keeps of the time in which there was much to do.
SLACK_MEGABYTES = 80.0

Sizes = Mapping[str, Size]


async def measure(house: House) -> Sizes:
    """What each kind of process holds; of several, one of those that hold most. Waits for those
    that still start. Raises OSError when one doesn't run."""
    deadline = time.monotonic() + START_SECONDS
    sizes = await _sizes(house.units)
    while None in sizes.values() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        sizes = await _sizes(house.units)
    kinds: dict[str, Size] = {}
    for label, size in sizes.items():
        if size is None:
            raise OSError(f"{label} does not run, or doesn't answer")
        kind = _kind(label)
        if kind not in kinds or size.tasks > kinds[kind].tasks:
            kinds[kind] = size
    return kinds


async def compare(house: House, before: Sizes) -> list[str]:
    """What has grown; asked again for a while, as some of it is let go of a little later."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found: list[str] = []
        for label, size in (await _sizes(house.units)).items():
            if size is None:
                found.append(f"{label} does not run, or doesn't answer")
            else:
                found += [f"{label} {text}" for text in grown(before[_kind(label)], size)]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(1)


def grown(before: Size, now: Size) -> list[str]:
    """What is too much. Pure."""
    bounds = (
        ("files", now.files, before.files + SLACK),
        ("connections that it made", now.made, max(before.made, MOST_MADE)),
        ("connections that it took", now.taken, before.taken),
        ("threads", now.threads, before.threads + SLACK),
        ("tasks", now.tasks, before.tasks + SLACK),
        ("MB", round(now.megabytes), round(before.megabytes + SLACK_MEGABYTES)),
    )
    return [f"has {have} {what}, not {most} at most" for what, have, most in bounds if have > most]


async def _sizes(units: Iterable[Unit]) -> dict[str, Size | None]:
    programs = [unit.program for unit in units]
    sizes = await asyncio.gather(*(asyncio.to_thread(each.size) for each in programs))
    return {each.label: size for each, size in zip(programs, sizes, strict=True)}


def _kind(label: str) -> str:
    return label.partition("-")[0]
