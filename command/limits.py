"""`meter limits set`, `meter limits show` and `meter limits cycle`."""

from typing import Annotated, Literal

import typer

from command.cli import new_app
from command.errors import CommandError
from command.stores import Data, Organization, ask, database_url

app = new_app()


@app.callback()
def limits() -> None:
    """Monthly limits of organizations and their members, and when their months begin.

    A limit is a month's recording. Of an organization's and a member's, the one with less room
    holds. Live sessions see a change within 2 seconds.
    """


@app.command("set")
def set_(
    org: Organization,
    minutes: Annotated[
        str | None, typer.Option(metavar="N", help="The limit in minutes: 600, or 0.5; -1: none.")
    ] = None,
    hours: Annotated[
        str | None, typer.Option(metavar="H", help="The limit in hours: 10, or 1.25; -1: none.")
    ] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="No limit.")] = False,
    user: Annotated[
        str | None, typer.Option(help="The limit of this member, and not the organization's.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the limit as JSON.")] = False,
    data: Data = None,
) -> None:
    """Set the monthly limit of an organization, or with --user of one of its members.

    One of --minutes, --hours and --unlimited. What isn't known yet is made.
    """
    seconds = _seconds(minutes, hours, unlimited)
    if not org or user == "":
        raise CommandError("an organization's and a user's id can't be empty", 2)
    url = database_url(data)

    from command.limits_display import show_limit_set
    from persistence.limits import set_limit

    ask(set_limit(url, org, user, seconds))
    show_limit_set(org, user, seconds, as_json=json)


@app.command()
def show(
    org: Organization,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    data: Data = None,
) -> None:
    """Show an organization's limit, what it used this period and what remains, and its members'.

    What is used is what Postgres holds: the minute that live sessions are in is not in it yet.
    """
    url = database_url(data)

    from command.limits_display import show_limits
    from persistence.limits import load_limits

    found = ask(load_limits(url, org))
    if found is None:
        raise CommandError(
            f"{org} has no limit and never recorded; `meter limits set` gives it a limit"
        )
    show_limits(found, as_json=json)


@app.command()
def cycle(
    org: Organization,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Turn at this zone's midnight: Europe/Paris.")
    ] = None,
    calendar: Annotated[
        bool, typer.Option("--calendar", help="Turn on the first of each month.")
    ] = False,
    anniversary: Annotated[
        bool,
        typer.Option("--anniversary", help="Turn on the day of the month the subscription began."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the periods as JSON.")] = False,
    data: Data = None,
) -> None:
    """Set when an organization's periods turn, or without an option show it.

    The present period ends when it was to end; a change holds from the next one on. An organization
    that isn't known yet is made.
    """
    if not org:
        raise CommandError("an organization's id can't be empty", 2)
    if calendar and anniversary:
        raise CommandError("give one of --calendar and --anniversary", 2)
    if time_zone is not None:
        _check_zone(time_zone)
    url = database_url(data)

    from command.limits_display import show_periods
    from persistence.periods import NoSubscription, set_cycle

    kind: Literal["calendar", "anniversary"] | None = "calendar" if calendar else None
    try:
        periods = ask(set_cycle(url, org, time_zone, "anniversary" if anniversary else kind))
    except NoSubscription as error:
        raise CommandError(
            f"{org} has no subscription whose start periods could follow; until it gets one (in "
            "user_subscriptions), they are calendar months"
        ) from error
    show_periods(periods, as_json=json)


def _check_zone(name: str) -> None:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    from meter.periods import UnknownTimeZone, time_zone

    try:
        time_zone(name)
    except UnknownTimeZone as error:
        near = get_close_matches(name, available_timezones(), 1)
        raise CommandError(f"{error}" + (f"; is it {near[0]}?" if near else ""), 2) from error


def _seconds(minutes: str | None, hours: str | None, unlimited: bool) -> int | None:
    """The limit that was asked for; None: unlimited. Raises CommandError unless it is one."""
    from meter.limits import (
        SECONDS_A_MINUTE,
        SECONDS_AN_HOUR,
        UNLIMITED,
        BadLimit,
        limit_seconds,
    )

    if [minutes is not None, hours is not None, unlimited].count(True) != 1:
        raise CommandError("give one of --minutes, --hours and --unlimited", 2)
    try:
        if minutes is not None:
            seconds = limit_seconds(minutes, SECONDS_A_MINUTE)
        else:
            seconds = UNLIMITED if hours is None else limit_seconds(hours, SECONDS_AN_HOUR)
    except BadLimit as error:
        raise CommandError(str(error), 2) from error
    return None if seconds == UNLIMITED else seconds
