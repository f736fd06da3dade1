"""`meter simulate`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from command.cli import new_app
from command.errors import CommandError

app = new_app()


@app.command()
def simulate(
    sessions: Annotated[int, typer.Option(min=1, help="How many recorders, at once.")] = 10,
    seconds: Annotated[float, typer.Option(min=0, help="How long each of them records.")] = 10,
    org: Annotated[
        str | None,
        typer.Option(
            help="All sessions in this organization. Without it: ten in each of new ones."
        ),
    ] = None,
    data: Annotated[Path, typer.Option(help="The dev server's data directory.")] = Path(".meter"),
    url: Annotated[
        str | None,
        typer.Option(
            help="Another gateway, ws://... or http://...; METER_JWT_SECRET signs for it."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Record with many sessions at once, and check that no second was lost or counted twice.

    Shows what was sent, what the gateway counted, and what Postgres holds within 5 seconds of the
    end: in the dev server's database, or with --url in DATABASE_URL's (not checked without one).
    Ends with 1 unless all three are the same. Ctrl-C ends the sessions early, in good order.
    """
    from command.simulate_display import run_shown, show
    from command.simulation import Plan

    target = _target(data, url)
    plan = Plan(
        url=target.url,
        secret=target.secret,
        sessions=sessions,
        seconds=seconds,
        organization=org,
        run=os.urandom(4).hex(),
    )
    outcome = run_shown(plan, target.database_url)
    show(outcome, as_json=json)
    if not outcome.exact:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Target:
    """A running gateway. `database_url` is None when nobody says where its rows go."""

    url: str
    secret: str
    database_url: str | None


def _target(data: Path, url: str | None) -> _Target:
    if url is None:
        from command.devserver.state import read_dev_state

        state = read_dev_state(data)
        return _Target(state.http_url, state.jwt_secret, state.database_url)
    secret = os.environ.get("METER_JWT_SECRET")
    if not secret:
        raise CommandError(
            "--url needs METER_JWT_SECRET, the secret that its tokens are signed with", 2
        )
    return _Target(url, secret, os.environ.get("DATABASE_URL") or None)
