"""The commands of `meter`, each a module of its own that is imported when it is run."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True)
class Entry:
    """A command: the module whose `app` it is, and what `meter --help` says of it."""

    module: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "dev": Entry("command.dev", "Run everything on this machine, for development."),
    "gateway": Entry("command.gateway", "Run a gateway: the sockets and the HTTP API."),
    "flusher": Entry("command.flusher", "Run a flusher: moves counted seconds to Postgres."),
    "migrate": Entry("command.migrate", "Bring the Postgres schema up to date, then end."),
    "token": Entry("command.token", "Print a token for the running dev server."),
    "limits": Entry("command.limits", "Set and show the limits of organizations and members."),
    "plans": Entry("command.plans", "List the plans, and give an organization one."),
    "bill": Entry("command.bill", "Show what an organization is billed for a period."),
    "audit": Entry("command.audit", "Compare every figure with the rows, and repair it."),
    "sessions": Entry("command.sessions", "List live sessions of all organizations, and stop one."),
    "simulate": Entry("command.simulate", "Record with many sessions at once, and check the sums."),
}


class LazyGroup(TyperGroup):
    """Knows its commands by name; imports the one that is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command as far as `meter --help` shows it."""
        entry = COMMANDS.get(cmd_name)
        return entry and TyperCommand(name=cmd_name, help=entry.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is run, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or name not in COMMANDS:
            return name, command, rest
        module = importlib.import_module(COMMANDS[name].module)
        loaded = get_command(module.app)
        loaded.name = name
        return name, loaded, rest


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def meter() -> None:
    """Minute Meter counts recorded seconds exactly and bills them by the minute.

    Start with `meter dev`. In production, `meter gateway`, `meter flusher` and `meter migrate` take
    their settings from the environment alone; all others ask with --help.
    """
