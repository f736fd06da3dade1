"""A process under measurement: started, waited for, its CPU and memory read, stopped."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

READY_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 20.0
REPOSITORY = Path(__file__).resolve().parents[2]


class ServerFailed(Exception):
    """A server ended or was not ready in time; the message holds the end of its log."""


class MeasuredProcess:
    """A running process, with its children, as far as the bench looks at it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._root = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that it and its children have used."""
        return sum(_cpu_seconds(process) for process in self._family())

    def resident_bytes(self) -> int:
        """Return the resident memory of it and its children."""
        return sum(process.memory_info().rss for process in self._family())

    def wait_ready(self, is_ready: Callable[[], bool]) -> None:
        """Return once `is_ready`; raise `ServerFailed` when it ended or took too long."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"{self._process.args!r} is not ready:\n{self._log_end()}")
            time.sleep(0.05)

    def _family(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def _log_end(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


@contextmanager
def running(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[MeasuredProcess]:
    """Run this interpreter with `arguments`, its output in `log`, while entered."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield MeasuredProcess(process, log)
    finally:
        _stop(process)


def free_port() -> int:
    """Return a TCP port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def accepts_connections(port: int) -> bool:
    """Return whether something listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def answers_200(url: str) -> bool:
    """Return whether a GET of `url` is answered with 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
        return bool(response.status == 200)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time: in nanoseconds on Linux, in psutil's 10 ms ticks elsewhere."""
    if sys.platform == "linux":
        scheduler_clock = (~process.pid << 3) | 2  # what clock_getcpuclockid(3) returns
        return time.clock_gettime(scheduler_clock)
    times = process.cpu_times()
    return times.user + times.system
