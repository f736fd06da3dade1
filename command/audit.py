"""`meter audit`."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from command.cli import new_app
from command.errors import CommandError
from command.stores import Data, database_url, redis_url

if TYPE_CHECKING:
    from meter.periods import Period
    from persistence.audit import Report

app = new_app()

DRIFT = 1


@app.command()
def audit(
    month: Annotated[
        str | None, typer.Option(metavar="MONTH", help="Only a UTC month, in Redis too: 2026-10.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make what differs anew from the rows.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    data: Data = None,
) -> None:
    """Compare every figure with the rows it is derived from, and print the drift in seconds.

    Those are monthly, daily and period figures, sessions' totals, members' minutes and counts of
    features in Postgres, and the accounts' figures in Redis. Ends with 1 when some differ and
    weren't repaired.

    Seconds that Postgres refuses to store are told, too; they are set aside, and no drift.
    """
    from persistence.audit import EVER

    span = EVER if month is None else _month(month)
    report = _ask(data, span, repair)

    from command.audit_display import show_report

    show_report(report, as_json=json)
    if report.drifts and not report.repaired:
        raise typer.Exit(DRIFT)


def _month(text: str) -> "Period":
    from meter.periods import Period, month_start

    found = re.fullmatch(r"(\d{4})-(\d{2})", text)
    if found is None or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1970:
        raise CommandError(f"{text[:64]!r} is no month, such as 2026-10", 2)
    year, number = int(found[1]), int(found[2])
    return Period(month_start(year, number), month_start(year, number + 1))


def _ask(data: Path | None, span: "Period", repair: bool) -> "Report":
    from meter.ledger.types import LedgerUnavailable, StorageUnavailable
    from persistence.audit import RepairUnderWay

    try:
        return asyncio.run(_audit(database_url(data), redis_url(data), span, repair))
    except StorageUnavailable as error:
        raise CommandError(f"the database doesn't answer: {error}") from error
    except LedgerUnavailable as error:
        raise CommandError(f"Redis doesn't answer: {error}") from error
    except RepairUnderWay as error:
        raise CommandError(
            "Redis' figures weren't repaired: another process, such as a flusher, has been putting "
            "them right all this time. Try again later"
        ) from error


def _say_waits(seconds: float) -> None:
    typer.echo(
        "another process is putting Redis' figures right; "
        f"waiting for it, {seconds:.0f} s at the most",
        err=True,
    )


async def _audit(database: str, redis: str, span: "Period", repair: bool) -> "Report":
    from meter.ledger.driver import Ledger
    from persistence.audit import audit_all
    from persistence.database import Database

    ledger = Ledger.connect(redis)
    # An audit reads all rows of its time: it may take a while. A repair of the ledger's figures
    # holds one connection, so that nobody else is at it, and reads over the other.
    rows = Database(database, name="minute-meter audit", max_connections=2, timeout_seconds=3600.0)
    try:
        return await audit_all(rows, ledger, span, repair=repair, waits=_say_waits)
    finally:
        await ledger.aclose()
        await rows.aclose()
