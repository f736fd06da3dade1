"""A flusher's process that reports overage is killed when Stripe has taken it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path

import asyncpg
import pytest

from command.embedded import EmbeddedValkey
from tests.payments.accounts import billed_account, overage, use
from tests.payments.fake_stripe import KEY, FakeStripe, Fault, fake_stripe
from tests.persistence.test_end_to_end import PROGRAM

pytestmark = pytest.mark.integration


async def flusher(database_url: str, redis_url: str, stripe: FakeStripe) -> Process:
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "METER_STRIPE_SECRET_KEY": KEY,
        "METER_STRIPE_API_URL": stripe.url,
        "METER_STRIPE_INTERVAL_SECONDS": "1",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        cwd=Path(__file__).parents[2],
        env=os.environ | settings,
        stderr=asyncio.subprocess.PIPE,
    )


async def told_to(process: Process, number: signal.Signals) -> str:
    """Its log, when it has gone."""
    process.send_signal(number)
    _, log = await asyncio.wait_for(process.communicate(), 60)
    return log.decode()


async def test_a_flusher_killed_after_stripe_took_a_report_is_followed_by_one_that_knows(
    connection: asyncpg.Connection, database_url: str, valkey_server: EmbeddedValkey
) -> None:
    await billed_account(connection)
    await use(connection, 660)
    async with fake_stripe() as stripe, asyncio.timeout(100):
        stripe.faults.append(Fault.TAKEN_AND_SILENT)
        first = await flusher(database_url, valkey_server.url, stripe)
        while not stripe.taken:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        log = await told_to(first, signal.SIGKILL)
        assert await overage(connection) == (10, 0, 10, 10)
        await use(connection, 60)
        second = await flusher(database_url, valkey_server.url, stripe)
        while (await overage(connection))[1] < 11:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        log += await told_to(second, signal.SIGTERM)
        assert second.returncode == 0, log
        assert stripe.asked[0] == stripe.asked[1]
        assert stripe.minutes("cus_1") == 11
    assert KEY not in log
    assert "Traceback" not in log
