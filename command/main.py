"""The `meter` command."""

import importlib
import sys
from collections.abc import Mapping, Sequence

from command.errors import CommandError

# What the Procfile runs: without options, so they start without what options need.
PROCESSES: Mapping[str, tuple[str, str]] = {
    "gateway": ("gateway.main", "run"),
    "flusher": ("persistence.main", "run_flusher"),
    "migrate": ("persistence.main", "run_migrations"),
}


def main() -> None:
    """The console script. One line to stderr and a non-zero exit code when it can't go on."""
    try:
        _run(sys.argv[1:])
    except CommandError as error:
        print(f"meter: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


def _run(arguments: Sequence[str]) -> None:
    if len(arguments) == 1 and arguments[0] in PROCESSES:
        run_process(arguments[0])
        return
    from command.group import app

    app()


def run_process(name: str) -> None:
    """Run one of PROCESSES in this process, until it ends."""
    module, function = PROCESSES[name]
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
