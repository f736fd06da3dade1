"""Runs `meter dev` as a user does, with stand-ins for what it starts."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.command.processes import within

HERE = Path(__file__).parent
START_SECONDS = 60.0


class DevRun:
    """One `meter dev` on `data`; `end` ends it, whatever state it is in."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.port = port
        self.notes_file = data.parent / "notes"
        self.output_file = data.parent / f"output-{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "DevRun":
        """Start it, with more in its environment if wanted."""
        with self.output_file.open("ab") as output:
            self.process = subprocess.Popen(
                [*meter(), "dev", "--port", str(self.port), "--data", str(self.data)],
                env=self.environment() | environment,
                cwd=self.data.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def ready(self) -> "DevRun":
        """Wait for its `ready`, and for the stand-ins that it does not ask whether they are."""
        said = re.compile("^ready ", re.MULTILINE)
        assert within(START_SECONDS, lambda: bool(said.search(self.output)) or self.ended), (
            self.output
        )
        assert within(START_SECONDS, lambda: self._started("flusher") or self.ended)
        assert not self.ended, self.output
        return self

    def _started(self, name: str) -> bool:
        """Whether it noted more starts than ends."""
        return self.notes.count(f"{name} start") > self.notes.count(f"{name} end")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait. Gives its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)

    def wait(self) -> int:
        """Wait for its end. Gives its exit code."""
        assert self.process is not None
        return self.process.wait(START_SECONDS)

    def end(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.stop()

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    @property
    def output(self) -> str:
        """What it printed, of all its runs."""
        return self.output_file.read_text(encoding="utf-8")

    @property
    def state(self) -> dict[str, Any]:
        """Its dev.json."""
        text = (self.data / "dev.json").read_text(encoding="utf-8")
        loaded: dict[str, Any] = json.loads(text)
        return loaded

    @property
    def notes(self) -> list[str]:
        """What the stand-ins did, in order."""
        return self.notes_file.read_text(encoding="utf-8").splitlines()

    def environment(self) -> dict[str, str]:
        """Stand-ins come before the real packages."""
        servers = ("REDIS_URL", "DATABASE_URL")
        inherited = {key: value for key, value in os.environ.items() if key not in servers}
        return inherited | {
            "PYTHONPATH": os.pathsep.join([str(HERE / "standins"), str(HERE.parent.parent)]),
            "STANDIN_NOTES": str(self.notes_file),
        }


def meter() -> list[str]:
    """The `meter` of this source tree."""
    return [sys.executable, "-P", "-m", "command.main"]
