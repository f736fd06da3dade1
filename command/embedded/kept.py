"""The owner's side of a kept process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from command.embedded import keeper
from command.embedded.errors import StartFailed
from command.embedded.records import Identity, RunRecord, clear_leftover, this_process

LOG_BYTES = 10_000_000
# A keeper goes through its steps and then kills, so it ends by itself; this is for a broken one.
KEEPER_EXTRA_SECONDS = 15.0


@dataclass(frozen=True)
class Account:
    """A user of the system."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class StopStep:
    """A signal, and the time the process has to end after it."""

    signal: signal.Signals
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How a process is run: what its keeper needs to know."""

    name: str
    argv: Sequence[str]
    cwd: Path
    log: Path
    stop: Sequence[StopStep]
    record: Path
    env: Mapping[str, str] | None = None
    account: Account | None = None

    def as_json(self) -> str:
        """The keeper's argument."""
        return json.dumps(
            {
                "argv": list(self.argv),
                "cwd": str(self.cwd),
                "log": str(self.log),
                "log_bytes": LOG_BYTES,
                "uid": self.account.uid if self.account else None,
                "gid": self.account.gid if self.account else None,
                "stop": [[int(step.signal), step.seconds] for step in self.stop],
            }
        )


class Lifeline:
    """A pipe that closes when its holders are gone.

    The owner holds it; other kept processes can hold it too (`KeptProcess(holds=…)`): then what
    they depend on outlives them, even when the owner was killed.
    """

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def close(self) -> None:
        """Let go. Closing twice does nothing."""
        for name in ("read_fd", "write_fd"):
            descriptor: int = getattr(self, name)
            if descriptor >= 0:
                setattr(self, name, -1)
                os.close(descriptor)


@dataclass
class KeptProcess:
    """A process with a keeper that ends it when this process ends.

    Start and stop it from one thread at a time; which one does not matter.
    """

    plan: Plan
    lifeline: Lifeline = field(default_factory=Lifeline)
    holds: Sequence[Lifeline] = ()
    pid: int | None = None
    _keeper: "subprocess.Popen[bytes] | None" = None

    def start(self) -> int:
        """Start it, after ending what a killed run left of it. Gives its process id.

        Raises AlreadyRunning and StartFailed.
        """
        clear_leftover(self.plan.record, self.plan.name, self.plan.stop[0].signal)
        rotate(self.plan.log)
        self._keeper = self._start_keeper()
        self.pid = self._read_pid(self._keeper)
        with contextlib.suppress(psutil.NoSuchProcess):  # gone already: no leftover to find
            parts = (Identity.of(self.pid), Identity.of(self._keeper.pid), this_process())
            RunRecord(*parts).write(self.plan.record)
        return self.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._keeper is not None and self._keeper.poll() is None

    def exit_code(self) -> int | None:
        """None while it runs; afterwards as a shell gives it (128 + N when killed by signal N).

        Known until `wait` has seen its end.
        """
        return None if self._keeper is None else self._keeper.poll()

    def ask_to_stop(self) -> None:
        """Send the order to stop; a second one hurries. Returns at once."""
        if self._keeper is not None and self.running:
            self._keeper.terminate()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        if self._keeper is None:
            return True
        try:
            self._keeper.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._forget()
        return True

    def stop(self) -> None:
        """Stop it in good order and wait for its end. Does nothing when it does not run."""
        self.ask_to_stop()
        if not self.wait(sum(step.seconds for step in self.plan.stop) + KEEPER_EXTRA_SECONDS):
            self.kill()
        self.close()

    def kill(self) -> None:
        """SIGKILL, as a crash would end it. Its data stay; `start` starts it again."""
        if self._keeper is None:
            return
        if self.running and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        if not self.wait(KEEPER_EXTRA_SECONDS):
            self._keeper.kill()
            self.wait(KEEPER_EXTRA_SECONDS)

    def close(self) -> None:
        """Let go of the lifeline."""
        self.lifeline.close()

    def _forget(self) -> None:
        self._keeper = None
        self.pid = None
        self.plan.record.unlink(missing_ok=True)

    def _start_keeper(self) -> "subprocess.Popen[bytes]":
        if self.lifeline.read_fd < 0:
            self.lifeline = Lifeline()
        with self.plan.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, self.plan.as_json()],
                stdin=self.lifeline.read_fd,
                stdout=subprocess.PIPE,
                stderr=log,
                env=None if self.plan.env is None else dict(self.plan.env),
                # Out of the terminal's process group: Ctrl-C is the owner's to pass on.
                start_new_session=True,
                pass_fds=[line.write_fd for line in self.holds if line.write_fd >= 0],
            )

    def _read_pid(self, keeper_process: "subprocess.Popen[bytes]") -> int:
        assert keeper_process.stdout is not None
        with keeper_process.stdout as stdout:
            word, _, rest = stdout.readline().decode(errors="replace").strip().partition(" ")
        if word == "pid":
            return int(rest)
        keeper_process.wait()
        self._keeper = None
        raise StartFailed(self.plan.name, rest or "its keeper ended", self.plan.log)


def rotate(log: Path) -> None:
    """Begin a new log; the one before is kept beside it."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(log, log.with_name(log.name + ".1"))


def last_words(log: Path, most: int = 20) -> list[str]:
    """The last lines of a log, oldest first."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return file.read().decode(errors="replace").splitlines()[-most:]
    except OSError:
        return []
