"""The parent's side of the load generator: starts its processes, adds up their answers."""

import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import orjson

from tests.bench.load import LoadOptions, Snapshot, Totals
from tests.bench.process import REPOSITORY


class LoadError(Exception):
    """A generator process ended, or answered out of turn."""


@dataclass(frozen=True)
class LoadTarget:
    """Where the load goes. `recorder`: it speaks our protocol; else it sends bare heartbeats.

    `heartbeats_per_reply` says how often such a server answers.
    """

    url: str
    heartbeats_per_reply: int = 1
    recorder: bool = False
    secret: str = ""
    origin: str = "http://127.0.0.1"


class Load:
    """`sessions` sessions on `target`, held by `processes` generator processes while entered."""

    def __init__(self, target: LoadTarget, sessions: int, processes: int) -> None:
        self._options = [
            LoadOptions(sessions=sessions, index=index, processes=processes, **asdict(target))
            for index in range(processes)
        ]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load", orjson.dumps(options).decode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for options in self._options
        ]
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def wait_connected(self) -> None:
        """Return when every session stands and beats."""
        self._read_all("connected")

    def snapshot(self) -> Snapshot:
        """Return the counters of all generator processes together."""
        self._tell("snapshot")
        answers = [Snapshot(**fields) for fields in self._read_all("snapshot")]
        return Snapshot(
            sent=sum(answer.sent for answer in answers),
            received=sum(answer.received for answer in answers),
            cpu_seconds=sum(answer.cpu_seconds for answer in answers),
            late_max_ms=max(answer.late_max_ms for answer in answers),
        )

    def stop(self) -> Totals:
        """End all sessions, and return what they saw together."""
        self._tell("stop")
        answers = [Totals(**fields) for fields in self._read_all("totals")]
        errors: Counter[str] = Counter()
        for answer in answers:
            errors.update(answer.errors)
        return Totals(
            sent=sum(answer.sent for answer in answers),
            received=sum(answer.received for answer in answers),
            replies_due=sum(answer.replies_due for answer in answers),
            counted_seconds=sum(answer.counted_seconds for answer in answers),
            stopped_sessions=sum(answer.stopped_sessions for answer in answers),
            disconnected_early=sum(answer.disconnected_early for answer in answers),
            errors=dict(errors),
        )

    def _tell(self, command: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(command.encode() + b"\n")
            process.stdin.flush()

    def _read_all(self, event: str) -> list[dict[str, Any]]:
        return [_read_event(process, event) for process in self._processes]


def run_generator(module: str, options: Any, timeout_seconds: float) -> dict[str, Any]:
    """Run a generator process that needs no telling to its end; what it printed.

    `options` is a dataclass that goes to it as one JSON argument.
    """
    command = [sys.executable, "-m", module, orjson.dumps(options).decode()]
    try:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, timeout=timeout_seconds, check=True, cwd=REPOSITORY
        )
    except subprocess.SubprocessError as error:
        raise LoadError(f"{module} gave nothing: {type(error).__name__}") from error
    totals: dict[str, Any] = orjson.loads(ended.stdout)
    return totals


def _read_event(process: subprocess.Popen[bytes], event: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise LoadError(f"a load generator ended with {process.wait()} before it said {event!r}")
    fields: dict[str, Any] = orjson.loads(line)
    if (said := fields.pop("event")) != event:
        raise LoadError(f"a load generator said {said!r}, expected {event!r}")
    return fields
