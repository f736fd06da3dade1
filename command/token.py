"""`meter token`."""

from pathlib import Path
from typing import Annotated

import typer

from command.cli import new_app
from command.errors import CommandError

app = new_app()

SCOPES = ("record", "usage", "admin")


@app.command()
def token(
    user: Annotated[str, typer.Option(help="The user's id, the token's `sub`.")],
    org: Annotated[
        str | None,
        typer.Option(help="The organization's id. Without it: the user's personal account."),
    ] = None,
    scope: Annotated[
        str, typer.Option(help="What it allows, separated by spaces: record, usage, admin.")
    ] = "record usage",
    expires_in: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long it is valid.")
    ] = 3600,
    data: Annotated[Path, typer.Option(help="The dev server's data directory.")] = Path(".meter"),
) -> None:
    """Print a token (a JWT) for the dev server that runs on --data.

    Send it as `Authorization: Bearer TOKEN`, or as `token` of a socket's first frame.
    """
    from command.devserver.state import read_dev_state
    from command.jwt import TokenClaims, sign

    unknown = [word for word in scope.split() if word not in SCOPES]
    if unknown:
        raise CommandError(f"unknown scope {unknown[0]}; known are {', '.join(SCOPES)}", 2)
    claims = TokenClaims(user, org, scope, expires_in)
    typer.echo(sign(claims, read_dev_state(data).jwt_secret))
