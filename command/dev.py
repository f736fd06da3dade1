"""`meter dev`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from command.cli import new_app
from command.errors import CommandError

app = new_app()


@app.command()
def dev(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The gateway's port on 127.0.0.1.")
    ] = 8000,
    data: Annotated[
        Path, typer.Option(help="Where everything is kept. A later start goes on with it.")
    ] = Path(".meter"),
) -> None:
    """Run everything on this machine: Valkey, Postgres, a gateway and a flusher.

    Valkey and Postgres come out of Python wheels, unless REDIS_URL or DATABASE_URL name others.
    Prints `ready URL` and links to open once all is up. What dies is started again. Ctrl-C
    flushes and stops everything. While it runs, DATA/dev.json tells other programs of it.
    """
    from command.devserver.console import DevConsole
    from command.devserver.server import DevOptions, DevServer
    from command.embedded.errors import EmbeddedServerError

    options = DevOptions(port=port, data=data, meter_command=meter_command())
    try:
        DevServer(options, DevConsole()).run()
    except EmbeddedServerError as error:
        raise CommandError(str(error)) from error


def meter_command() -> Sequence[str]:
    """How to start another `meter` like this one."""
    program = Path(sys.argv[0])
    if program.name == "meter" and program.is_file():
        return [sys.executable, str(program.absolute())]
    # -P: the directory we happen to be in must not provide modules.
    return [sys.executable, "-P", "-m", "command.main"]
