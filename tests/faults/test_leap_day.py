"""29 February, on the clock of all processes and of Valkey."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from meter.ledger.functions import LIBRARY
from tests.faults.ask import ask, settled
from tests.faults.clocks import load, with_clock
from tests.faults.crowd import Crowd
from tests.faults.habits import Steady
from tests.faults.house import House
from tests.faults.judge import judge
from tests.faults.launch import CLOCK_AHEAD
from tests.faults.processes import restart
from tests.faults.stage import Stage

pytestmark = pytest.mark.integration

RECORDERS = 8
SETTLE_SECONDS = 20.0
EVE = datetime(2028, 2, 28, 23, 59, 55, tzinfo=UTC)
LEAP_DAY = datetime(2028, 2, 29, 23, 59, 55, tzinfo=UTC)
RECORDED_SECONDS = 9.0
# Tokens are of today, and good on that day.
TOKEN_SECONDS = int(LEAP_DAY.timestamp() - time.time()) + 86_400


@pytest.mark.timeout(180)
async def test_a_leap_day_begins_and_ends_in_sessions_that_go_on(directory: Path) -> None:
    settings = {"METER_FLUSH_LEASE_SECONDS": "2"}
    async with House(directory, settings=settings, token_seconds=TOKEN_SECONDS) as house:
        stage = Stage(house, Crowd(house, seed=1))
        await record_from(stage, EVE)
        await record_from(stage, LEAP_DAY)
        # The ledger's figures, a month each, are `meter audit`'s to compare: part of the bill.
        bill = replace(await ask(house, stage.crowd.books), ledger={}, ledger_members={})
        verdict = judge(stage.crowd.books, bill)
        assert verdict.findings == []
        assert verdict.counted == verdict.recorded > 2 * RECORDERS * (RECORDED_SECONDS - 3)
        days, months = await kept(house)
    assert {day for day, seconds in days.items() if seconds} == {
        date(2028, 2, 28),
        date(2028, 2, 29),
        date(2028, 3, 1),
    }
    assert sum(days.values()) == sum(months.values()) == verdict.counted
    february = sum(seconds for day, seconds in days.items() if day.month == 2)
    assert months == {date(2028, 2, 1): february, date(2028, 3, 1): days[date(2028, 3, 1)]}


async def record_from(stage: Stage, moment: datetime) -> None:
    """Set all clocks, record over midnight, and end all sessions."""
    ahead_seconds = int(moment.timestamp() - time.time())
    await load(stage, with_clock(LIBRARY, ahead_seconds))
    oddities = {CLOCK_AHEAD: str(ahead_seconds)}
    await asyncio.gather(*(restart(unit, oddities) for unit in stage.house.units))
    # Starting took a while: the midnight is to come.
    await load(stage, with_clock(LIBRARY, int(moment.timestamp() - time.time())))
    for number in range(RECORDERS):
        stage.crowd.start(f"leap-{number % 3}", f"user-{number}", Steady(number))
    await asyncio.sleep(RECORDED_SECONDS)
    assert await stage.crowd.finish(SETTLE_SECONDS)
    assert await settled(stage.house, SETTLE_SECONDS)


async def kept(house: House) -> tuple[dict[date, int], dict[date, int]]:
    """Seconds by day and by month, as Postgres keeps them."""
    connection = await house.database()
    try:
        days = await connection.fetch(
            "SELECT day, sum(seconds_used)::bigint AS seconds FROM daily_usage GROUP BY day"
        )
        months = await connection.fetch(
            "SELECT month, sum(seconds_used)::bigint AS seconds FROM monthly_usage_cache "
            "GROUP BY month"
        )
    finally:
        await connection.close()
    return (
        {row["day"]: row["seconds"] for row in days},
        {row["month"]: row["seconds"] for row in months},
    )
