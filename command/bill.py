"""`meter bill`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from command.cli import new_app
from command.errors import CommandError
from command.stores import Data, Organization, ask, database_url

app = new_app()


@app.command()
def bill(
    org: Organization,
    at: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="A day in the period that is meant: 2026-10-15."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    data: Data = None,
) -> None:
    """Show what an organization is billed for a period: the present one, or that of a day.

    Exact seconds, rounded as its plan says; those that are in Postgres.
    """
    moment = _noon(at)
    url = database_url(data)

    from command.bill_display import show_bill
    from persistence.bills import load_bill

    show_bill(ask(load_bill(url, org, moment)), as_json=json)


def _noon(day: str | None) -> int:
    """An epoch second of the day, wherever it is; now without one."""
    if day is None:
        return int(datetime.now(UTC).timestamp())
    try:
        return int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    except ValueError:
        raise CommandError(f"{day[:64]!r} is no day, such as 2026-10-15", 2) from None
