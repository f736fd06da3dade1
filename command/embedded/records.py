"""Run records: what tells a leftover of a killed run from somebody else's process.

A process id alone does not: ids are used again. A record also has the start time and the command
line, of the process and of those who look after it.
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from command.embedded.errors import AlreadyRunning, StartFailed
from command.embedded.files import write_private

# The clock that start times are derived from can be adjusted between two looks.
START_TIME_TOLERANCE_SECONDS = 2.0
KEEPER_PATIENCE_SECONDS = 20.0
KILL_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Identity:
    """A process, told from a later one with the same id."""

    pid: int
    started: float
    command_line: tuple[str, ...]

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The process `pid` as it is now. Raises psutil.NoSuchProcess."""
        process = psutil.Process(pid)
        return cls(pid, process.create_time(), tuple(process.cmdline()))

    @classmethod
    def parse(cls, data: dict[str, Any]) -> "Identity":
        """From a record's JSON. Raises KeyError, TypeError or ValueError."""
        return cls(int(data["pid"]), float(data["started"]), tuple(data["command_line"]))

    def find(self) -> psutil.Process | None:
        """The live process, or None when it has ended."""
        with suppress(psutil.Error):  # it has ended by now, or is another user's: none of ours
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            same_start = abs(process.create_time() - self.started) < START_TIME_TOLERANCE_SECONDS
            if same_start and tuple(process.cmdline()) == self.command_line:
                return process
        return None


@dataclass(frozen=True)
class RunRecord:
    """A kept process, its keeper, and the owner that both work for."""

    process: Identity
    keeper: Identity
    owner: Identity

    def write(self, path: Path) -> None:
        """Put the record into `path`."""
        write_private(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, path: Path) -> "RunRecord | None":
        """The record in `path`; None when there is none that can be read."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(*(Identity.parse(data[key]) for key in ("process", "keeper", "owner")))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def clear_leftover(path: Path, name: str, stop_signal: signal.Signals) -> bool:
    """End what an earlier, killed run left of the process whose record is `path`.

    True when something was left. Raises AlreadyRunning when its owner lives, StartFailed when it
    cannot be ended.
    """
    record = RunRecord.read(path)
    process = record.process.find() if record else None
    if record is None or process is None:
        path.unlink(missing_ok=True)
        return False
    if record.owner.find() is not None:
        raise AlreadyRunning(name, record.owner.pid)
    keeper = record.keeper.find()
    # A keeper that lost its owner is stopping the process already. Don't cut that short.
    if not (keeper and _ended_within(process, KEEPER_PATIENCE_SECONDS)):
        _end(process, stop_signal, name, path)
    path.unlink(missing_ok=True)
    return True


def this_process() -> Identity:
    """The owner of what this process starts."""
    return Identity.of(os.getpid())


def _end(
    process: psutil.Process, stop_signal: signal.Signals, name: str, record_path: Path
) -> None:
    try:
        process.send_signal(stop_signal)
        if _ended_within(process, KEEPER_PATIENCE_SECONDS):
            return
        process.kill()
        if _ended_within(process, KILL_PATIENCE_SECONDS):
            return
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        pass  # it goes on, as one does that nothing ends: both are told alike
    reason = f"process {process.pid}, left by an earlier run, cannot be ended"
    raise StartFailed(name, reason, record_path)


def _ended_within(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.02)
                continue
        return True
    return False
