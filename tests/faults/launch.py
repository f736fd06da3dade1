"""Runs one of the product's processes as it would be on another machine, or of another release:
`python -m tests.faults.launch gateway`, by what the environment asks for."""

import os
import sys
import time

from command.main import run_process
from meter.ledger import functions

# How far this process's own clock is ahead, in seconds.
CLOCK_AHEAD = "CHAOS_CLOCK_AHEAD"
# Which version of the server functions it comes with.
LIBRARY_VERSION = "CHAOS_LIBRARY_VERSION"


def main() -> None:
    """Set things up before the program is imported, and run it."""
    if ahead := float(os.environ.get(CLOCK_AHEAD, "0")):
        set_clock(ahead)
    if version := os.environ.get(LIBRARY_VERSION):
        functions.LIBRARY = functions.LIBRARY.of_version(int(version))
    run_process(sys.argv[1])


def set_clock(ahead_seconds: float) -> None:
    """From now on `time.time` is that far off; monotonic clocks aren't."""
    real = time.time
    time.time = lambda: real() + ahead_seconds


if __name__ == "__main__":
    main()
