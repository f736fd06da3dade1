"""`meter limits set` and `meter limits show`."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from command.cli import new_app
from command.errors import CommandError

app = new_app()

Result = TypeVar("Result")

Organization = Annotated[str, typer.Argument(metavar="ORG", help="The organization's id.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="The data directory of a running dev server. Without it: DATABASE_URL, or else the "
        "dev server on .meter."
    ),
]


@app.callback()
def limits() -> None:
    """Monthly limits of organizations and their members.

    A limit is a month's recording. Of an organization's and a member's, the one with less room
    holds. Live sessions see a change within 2 seconds.
    """


@app.command("set")
def set_(
    org: Organization,
    minutes: Annotated[
        str | None, typer.Option(metavar="N", help="The limit in minutes: 600, or 0.5.")
    ] = None,
    hours: Annotated[
        str | None, typer.Option(metavar="H", help="The limit in hours: 10, or 1.25.")
    ] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="No limit.")] = False,
    user: Annotated[
        str | None, typer.Option(help="The limit of this member, and not the organization's.")
    ] = None,
    data: Data = None,
) -> None:
    """Set the monthly limit of an organization, or with --user of one of its members.

    One of --minutes, --hours and --unlimited. What isn't known yet is made.
    """
    seconds = _seconds(minutes, hours, unlimited)
    if not org or user == "":
        raise CommandError("an organization's and a user's id can't be empty", 2)
    url = _database_url(data)

    from command.limits_display import amount
    from persistence.limits import set_limit

    _ask(set_limit(url, org, user, seconds))
    whose = f"{user} in {org}" if user is not None else org
    typer.echo(
        f"{whose}: {amount(seconds)} a month" if seconds is not None else f"{whose}: unlimited"
    )


@app.command()
def show(
    org: Organization,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    data: Data = None,
) -> None:
    """Show an organization's limit, what it used this month and what remains, and its members'.

    What is used is what Postgres holds: the minute that live sessions are in is not in it yet.
    """
    url = _database_url(data)

    from command.limits_display import show_limits
    from persistence.limits import load_limits

    found = _ask(load_limits(url, org))
    if found is None:
        raise CommandError(
            f"{org} has no limit and never recorded; `meter limits set` gives it a limit"
        )
    show_limits(found, as_json=json)


def _seconds(minutes: str | None, hours: str | None, unlimited: bool) -> int | None:
    """The limit that was asked for; None: unlimited. Raises CommandError unless it is one."""
    from meter.limits import SECONDS_A_MINUTE, SECONDS_AN_HOUR, BadLimit, limit_seconds

    if [minutes is not None, hours is not None, unlimited].count(True) != 1:
        raise CommandError("give one of --minutes, --hours and --unlimited", 2)
    try:
        if minutes is not None:
            return limit_seconds(minutes, SECONDS_A_MINUTE)
        return None if hours is None else limit_seconds(hours, SECONDS_AN_HOUR)
    except BadLimit as error:
        raise CommandError(str(error), 2) from error


def _database_url(data: Path | None) -> str:
    from command.devserver.state import read_dev_state

    url = os.environ.get("DATABASE_URL")
    if data is None and url:
        return url
    return read_dev_state(data or Path(".meter")).database_url


def _ask(question: Coroutine[Any, Any, Result]) -> Result:
    from meter.ledger.types import StorageUnavailable
    from persistence.errors import RowsRefused

    try:
        return asyncio.run(question)
    except StorageUnavailable as error:
        raise CommandError(f"the database doesn't answer: {error}") from error
    except RowsRefused as error:
        raise CommandError(f"the database refused this: {error}") from error
