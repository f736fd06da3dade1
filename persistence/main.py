"""Composition roots: the flusher and the migrations, out of settings."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from typing import NoReturn, TypeVar

import asyncpg
from prometheus_client import start_http_server
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from meter.ledger.driver import Ledger
from meter.ledger.types import StorageUnavailable
from persistence.alerts import AlertNoter
from persistence.auditor import Auditor
from persistence.database import Database
from persistence.demo import make_demo
from persistence.errors import storage_errors
from persistence.flusher import Flusher, FlushOptions
from persistence.metrics import FlusherMetrics
from persistence.migrations import MigrationError, migrate
from persistence.periods import PeriodsKeeper
from persistence.settings import FlusherSettings, MigrateSettings, describe
from persistence.teller import LimitsTeller
from persistence.writer import Writer

logger = logging.getLogger(__name__)

BAD_SETTING = 2
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 0.25

Settings = TypeVar("Settings", bound=BaseSettings)
Result = TypeVar("Result")


def run_flusher() -> None:
    """Flush until SIGTERM or SIGINT. Exits with 2 on a bad setting."""
    _log()
    settings = _settings("flusher", FlusherSettings)
    _run(_flush(settings))


def run_migrations() -> None:
    """Bring the database to this program's schema. Exits with 2 on a bad setting, and with 1
    when the database cannot be reached or contradicts the migrations."""
    _log()
    settings = _settings("migrate", MigrateSettings)
    try:
        applied = _run(_migrate(settings))
        if settings.demo:
            _run(make_demo(settings.database_url.get_secret_value()))
    except MigrationError as error:
        _stop("migrate", str(error), 1)
    except StorageUnavailable as error:
        _stop("migrate", f"{error}. Does Postgres run, and does DATABASE_URL name it?", 1)
    for name in applied:
        print(f"applied {name}")
    print("the database is up to date")


async def _flush(settings: FlusherSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = FlusherMetrics()
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port, registry=metrics.registry)
    database = Database(
        settings.database_url.get_secret_value(),
        name="minute-meter flusher",
        max_connections=5,
        timeout_seconds=settings.timeout_seconds,
    )
    ledger = Ledger.connect(settings.redis_url.get_secret_value(), settings.rules)
    options = FlushOptions(
        interval_seconds=settings.interval_seconds,
        lease_seconds=settings.lease_seconds,
        batch_rows=settings.batch_rows,
        sessions=settings.sessions,
        stop_seconds=settings.stop_seconds,
    )
    try:
        # Apart from each other: a limit doesn't wait for a backlog of minutes.
        async with asyncio.TaskGroup() as group:
            keeper = PeriodsKeeper(database)
            group.create_task(keeper.run(stop))
            auditor = Auditor(ledger, database, metrics)
            group.create_task(auditor.run(stop))
            group.create_task(LimitsTeller(ledger, database, metrics, keeper, auditor).run(stop))
            group.create_task(
                Flusher(
                    ledger, Writer(database), options, metrics, AlertNoter(ledger, database)
                ).run(stop)
            )
    finally:
        await ledger.aclose()
        await database.aclose()


async def _migrate(settings: MigrateSettings) -> list[str]:
    """Apply what is missing, waiting a while for a Postgres that is still starting."""
    give_up_at = time.monotonic() + settings.wait_seconds
    url = settings.database_url.get_secret_value()
    while True:
        try:
            with storage_errors():
                connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        except StorageUnavailable:
            if time.monotonic() >= give_up_at:
                raise
            await asyncio.sleep(RETRY_SECONDS)
            continue
        try:
            with storage_errors():
                return await migrate(connection)
        finally:
            await connection.close()


def _settings(program: str, kind: type[Settings]) -> Settings:
    try:
        return kind()
    except ValidationError as error:
        _stop(program, describe(error), BAD_SETTING)


def _stop(program: str, message: str, code: int) -> NoReturn:
    print(f"meter {program}: {message}", file=sys.stderr)
    sys.exit(code)


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def _run(main: Coroutine[object, object, Result]) -> Result:
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)
