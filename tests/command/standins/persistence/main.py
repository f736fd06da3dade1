"""Stands in for the flusher and the migrations; both really talk to Postgres."""

import asyncio
import os
import signal
import sys

import asyncpg

from . import note


def run_migrations() -> None:
    """What `meter migrate` calls."""
    note("migrate")
    if os.environ.get("STANDIN_MIGRATE_FAILS"):
        sys.exit("a migration went wrong")
    asyncio.run(_execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz DEFAULT now())"))


def run_flusher() -> None:
    """What `meter flusher` calls: writes a row at its end, for which Postgres must still be up."""
    note("flusher start")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    finally:
        asyncio.run(_execute("INSERT INTO starts DEFAULT VALUES"))
        note("flusher end")


async def _execute(statement: str) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
