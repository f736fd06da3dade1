"""What `meter dev` shows while it works: a spinner on a terminal, plain lines elsewhere."""

import re
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

# Lines of the children's logs that go on as planned, and so stay in the log.
_ROUTINE = re.compile(r"\b(INFO|DEBUG)\b")


class DevConsole:
    """Prints progress and messages. May be used from several threads."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def starting(self) -> AbstractContextManager[object]:
        """While this is entered, `progress` turns a spinner, if there is a terminal to see it."""
        if not sys.stdout.isatty():
            return nullcontext()
        from rich.console import Console  # only a terminal's user waits for this import

        self._status = Console().status("starting")
        return self._status

    def progress(self, text: str) -> None:
        """Say what is being done now."""
        if self._status is not None:
            self._status.update(text)
        else:
            self.line(f"  {text}")

    def started(self) -> None:
        """The spinner has gone: later progress is printed."""
        self._status = None

    def line(self, text: str = "") -> None:
        """Print a line."""
        with suppress(BrokenPipeError):  # nobody reads any more, and that's no reason to stop
            print(text, flush=True)

    def problem(self, text: str) -> None:
        """Print a line to stderr."""
        with suppress(BrokenPipeError):
            print(text, file=sys.stderr, flush=True)


class LogTail:
    """Follows a child's log and gives the lines that someone should see."""

    def __init__(self, log: Path, name: str) -> None:
        self._log = log
        self._name = name
        self._offset = 0
        self._rest = b""

    def restart(self) -> None:
        """The log begins anew."""
        self._offset = 0
        self._rest = b""

    def new_lines(self) -> list[str]:
        """Complete lines since the last call that are not routine, each with the child's name."""
        try:
            with self._log.open("rb") as file:
                if self._log.stat().st_size < self._offset:
                    self.restart()
                file.seek(self._offset)
                fresh = file.read()
        except OSError:
            return []
        self._offset += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        texts = [line.decode(errors="replace").rstrip() for line in lines]
        return [f"{self._name} | {text}" for text in texts if text and not _ROUTINE.search(text)]
