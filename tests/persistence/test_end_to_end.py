"""The flusher's process between a real Valkey and a real Postgres."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from command.embedded import EmbeddedValkey
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.types import CountItem, OpenRequest, OpenStatus, SessionKey
from persistence.storage import PostgresStorage
from tests.persistence.builders import assert_figures_follow_rows, session_id, stored_session

pytestmark = pytest.mark.integration

PROGRAM = "from persistence.main import run_flusher; run_flusher()"


@asynccontextmanager
async def flusher_process(database_url: str, redis_url: str) -> AsyncIterator[None]:
    """A flusher, told to stop at the end; it has to go in good order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, log.decode()
    assert b"has stopped" in log
    assert b"Traceback" not in log


async def record(ledger: Ledger, storage: PostgresStorage, organization: str) -> SessionKey:
    """A session of an account that has just begun: two seconds counted."""
    key = SessionKey(organization, session_id())
    request = OpenRequest(
        key, "user_1", "recording", owner=1, metadata='{"title": "é"}', create=True
    )
    opened = await ledger.open(request)
    if opened.status is OpenStatus.ACCOUNT_COLD:
        figures = await storage.load_account(organization, "user_1", int(opened.server_time))
        await ledger.seed_account(figures)
        opened = await ledger.open(request)
    assert opened.status is OpenStatus.CREATED
    (counted,) = await ledger.count([CountItem(key, ((0, 1),))])
    assert counted.new == 2
    return key


@pytest.fixture
async def ledger(valkey_server: EmbeddedValkey) -> AsyncIterator[Ledger]:
    """A ledger on the run's Valkey."""
    ledger = Ledger.connect(valkey_server.url)
    yield ledger
    await ledger.aclose()


async def test_what_was_counted_is_durable_after_a_session_ended(
    database_url: str,
    connection: asyncpg.Connection,
    storage: PostgresStorage,
    valkey_server: EmbeddedValkey,
    ledger: Ledger,
) -> None:
    ended = await record(ledger, storage, "org_flushed")
    async with flusher_process(database_url, valkey_server.url):
        await ledger.close(ended, EndReason.STOPPED)
        async with asyncio.timeout(60):
            while not await connection.fetchval(  # noqa: ASYNC110  # by another process
                "SELECT count(*) FROM interview_sessions WHERE ended_at IS NOT NULL"
            ):
                await asyncio.sleep(0.05)
        # What is due when it is told to stop is written too.
        last = await record(ledger, storage, "org_stopped")
        await ledger.close(last, EndReason.STOPPED)

    for key in (ended, last):
        row = await stored_session(connection, key.session_id)
        assert (row["seconds_recorded"], row["metadata"]) == (2, '{"title": "é"}')
        assert row["end_reason"] == EndReason.STOPPED
    assert (await ledger.backlog()).sessions_due == 0
    await assert_figures_follow_rows(connection)
