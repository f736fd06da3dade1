"""`meter migrate`."""

from typing import Annotated

import typer

from command.cli import new_app
from command.errors import CommandError

app = new_app()


@app.command()
def migrate(
    before: Annotated[
        bool, typer.Option("--before", help="Only those that older processes can live with.")
    ] = False,
    after: Annotated[
        bool, typer.Option("--after", help="Only those for when no older process is left.")
    ] = False,
) -> None:
    """Apply the migrations that the database lacks, then end.

    DATABASE_URL names the database. Running it again does nothing. While gateways and flushers go
    on: `--before`, then restart them one by one, then `--after`. A database without any migration
    gets all of them, as nothing older can be using it.
    """
    from persistence.main import run_migrations
    from persistence.migrations import Phase

    if before and after:
        raise CommandError("--before or --after, not both: without either all are applied", 2)
    run_migrations(Phase.BEFORE if before else Phase.AFTER if after else None)
