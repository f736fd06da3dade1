"""What tests look at in processes."""

import time
from collections.abc import Callable
from contextlib import suppress

import psutil


def alive(pid: int | None) -> bool:
    """Whether the process runs (a zombie does not)."""
    if pid is None:
        return False
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether `condition` comes to hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def mentioning(text: str) -> list[int]:
    """The processes whose command line has `text` in it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if alive(process.pid) and any(text in part for part in process.cmdline()):
                found.append(process.pid)
    return found
