"""Composition roots: the flusher and the migrations, out of settings."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
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
from persistence.functions import FunctionsKeeper
from persistence.metrics import FlusherMetrics
from persistence.migrations import Migration, MigrationError, Phase, migrate, waiting
from persistence.periods import PeriodsKeeper
from persistence.revival import MARGIN_SECONDS, Reviver
from persistence.settings import FlusherSettings, MigrateSettings, describe
from persistence.startup import outdated_schema
from persistence.teller import LimitsTeller
from persistence.writer import Writer

logger = logging.getLogger(__name__)

BAD_SETTING = 2
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 0.25

Settings = TypeVar("Settings", bound=BaseSettings)
Result = TypeVar("Result")


def run_flusher() -> None:
    """Flush until SIGTERM or SIGINT. Exits with 2 on a bad setting, and with 1 when the database
    lacks a migration."""
    _log()
    settings = _settings("flusher", FlusherSettings)
    problem = _run(outdated_schema(settings.database_url.get_secret_value()))
    if problem is not None:
        _stop("flusher", problem, 1)
    _run(_flush(settings))


def run_migrations(phase: Phase | None = None) -> None:
    """Bring the database to this program's schema, or do what is for before or after a deploy.

    Exits with 2 on a bad setting, and with 1 when the database cannot be reached or contradicts
    the migrations."""
    _log()
    settings = _settings("migrate", MigrateSettings)
    try:
        applied, left = _run(_migrate(settings, phase))
        if settings.demo:
            _run(make_demo(settings.database_url.get_secret_value()))
    except MigrationError as error:
        _stop("migrate", str(error), 1)
    except StorageUnavailable as error:
        _stop("migrate", f"{error}. Does Postgres run, and does DATABASE_URL name it?", 1)
    for name in applied:
        print(f"applied {name}")
    for migration in left:
        print(f"{migration.name} is left, for {migration.phase} a deploy")
    if not left:
        print("the database is up to date")


async def _flush(settings: FlusherSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = FlusherMetrics()
    metrics.watch(loop)
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
            quiet_seconds = settings.rules.lost_after_seconds + MARGIN_SECONDS
            group.create_task(Reviver(ledger, database, quiet_seconds).run(stop))
            group.create_task(FunctionsKeeper(ledger).run(stop))
            group.create_task(_report_overage(settings, metrics, stop))
            group.create_task(LimitsTeller(ledger, database, metrics, keeper, auditor).run(stop))
            group.create_task(
                Flusher(
                    ledger, Writer(database), options, metrics, AlertNoter(ledger, database)
                ).run(stop)
            )
    finally:
        await ledger.aclose()
        await database.aclose()


async def _report_overage(
    settings: FlusherSettings, metrics: FlusherMetrics, stop: asyncio.Event
) -> None:
    """Report overage to Stripe until `stop` is set, where there is a key for it."""
    if settings.stripe_secret_key is None:
        return
    # Takes a second to import, and most do without.
    from persistence.payments.overage import OverageReporter
    from persistence.payments.provider import Provider

    # A connection of its own: it is kept while Stripe answers.
    database = Database(
        settings.database_url.get_secret_value(),
        name="minute-meter overage",
        max_connections=1,
        timeout_seconds=settings.timeout_seconds,
    )
    provider = Provider(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_url)
    try:
        interval = settings.stripe_interval_seconds
        await OverageReporter(provider, database, interval, metrics).run(stop)
    finally:
        await provider.aclose()
        await database.aclose()


async def _migrate(
    settings: MigrateSettings, phase: Phase | None
) -> tuple[list[str], Sequence[Migration]]:
    """Apply what is missing, waiting a while for a Postgres that is still starting; what was
    applied, and what is left."""
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
                return await migrate(connection, phase=phase), await waiting(connection)
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
