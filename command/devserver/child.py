"""A child of the dev server that is started again when it dies."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from command.devserver.console import DevConsole, LogTail
from command.devserver.state import DataDirectory
from command.embedded.kept import KeptProcess, Lifeline, Plan, StopStep, last_words
from command.embedded.records import clear_leftover

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
# One that lived as long as this starts with a short delay again.
STEADY_SECONDS = 30.0

# The second SIGTERM makes the gateway close what it has not drained.
STOP = (StopStep(signal.SIGTERM, 30.0), StopStep(signal.SIGTERM, 10.0))


# The dev server signs its tokens itself; these would make the gateway refuse them.
_NOT_FOR_CHILDREN = frozenset(
    {
        "METER_JWKS_URL",
        "METER_JWKS_REFRESH_SECONDS",
        "METER_JWT_ISSUER",
        "METER_JWT_AUDIENCE",
        "METER_JWT_USER_CLAIM",
        "METER_JWT_ORG_CLAIM",
        "METER_JWT_SCOPE_CLAIM",
    }
)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}


class Child:
    """`meter NAME` as a process of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: DataDirectory,
        console: DevConsole,
    ) -> None:
        self.name = name
        self.deaths = 0
        self.log = directory.logs / f"{name}.log"
        self.lifeline = Lifeline()
        self._command = command
        self._record = directory.path / f"{name}-run.json"
        self._console = console
        self._tail = LogTail(self.log, name)
        self._process: KeptProcess | None = None
        self._started_at = 0.0
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._start_again_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.running else None

    def clear_leftover(self) -> bool:
        """End what a killed dev server left running. True when there was something."""
        return clear_leftover(self._record, self.name, STOP[0].signal)

    def start(self, environment: Mapping[str, str], outlived_by: Sequence[Lifeline]) -> None:
        """Start it. What `outlived_by` belongs to is stopped only after it, whatever happens."""
        plan = Plan(
            name=self.name,
            argv=[*self._command, self.name],
            cwd=Path.cwd(),
            log=self.log,
            stop=STOP,
            record=self._record,
            env={**_inherited(), **environment},
        )
        self._process = KeptProcess(plan, self.lifeline, outlived_by)
        self._start()

    def supervise(self) -> bool:
        """Look after it. True when its process id has changed (it died, or was started again)."""
        self.show_log()
        if self._process is None:
            return False
        if self._start_again_at is None:
            return self._notice_death(self._process)
        if time.monotonic() < self._start_again_at:
            return False
        self._start()
        return True

    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.exit_code()

    def ask_to_stop(self) -> None:
        """Send the order to stop; a second one hurries."""
        self._start_again_at = None
        if self._process is not None:
            self._process.ask_to_stop()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        return self._process is None or self._process.wait(seconds)

    def close(self) -> None:
        """Let go, after its end."""
        self.lifeline.close()

    def show_log(self) -> None:
        """Show what it logged since the last time and someone should see."""
        for line in self._tail.new_lines():
            self._console.problem(line)

    def last_words(self) -> str:
        """The last line it logged."""
        return next((line for line in reversed(last_words(self.log)) if line.strip()), "")

    def _start(self) -> None:
        assert self._process is not None
        self._start_again_at = None
        self._started_at = time.monotonic()
        self._tail.restart()
        self._process.start()

    def _notice_death(self, process: KeptProcess) -> bool:
        code = process.exit_code()
        if code is None:
            return False
        process.wait(0)
        self.show_log()
        self.deaths += 1
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._delay_seconds = FIRST_DELAY_SECONDS
        self._console.problem(f"{self.name} ended (exit code {code}); it is started again")
        self._start_again_at = time.monotonic() + self._delay_seconds
        self._delay_seconds = min(self._delay_seconds * 2, LONGEST_DELAY_SECONDS)
        return True
