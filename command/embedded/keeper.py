"""Keeps one process: starts it, passes on the order to stop, ends it when its owner is gone.

The owner runs this file as a script, with nothing of the project imported, so that it is quick to
start and cannot fail with the project's code. Between owner and keeper there are

- standard input, a pipe of which the owner holds the other end: when it closes, the owner is gone,
  even by SIGKILL, and the process is stopped in good order;
- standard output: one line, `pid N` once the process runs, or `error TEXT`;
- SIGTERM: stop the process. A second one goes to the next, harsher step at once.

The keeper has one thread and forks from it, so on Linux the process can also ask the kernel for a
signal at the keeper's own death. (The kernel sends it when the forking *thread* ends, which makes
it useless to an owner with threads.)
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
LOG_CHECK_SECONDS = 5.0


class Keeper:
    """Runs until the process it keeps has ended.

    `plan` has `argv`, `cwd`, `log` (a path), `log_bytes` (the log is cut when it grows past it),
    `uid` and `gid` (or null), and `stop`: pairs of a signal and the seconds it is given.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._steps: list[tuple[int, float]] = [tuple(step) for step in plan["stop"]]
        self._orders = 0
        self._orders_done = 0
        self._next_step_at: float | None = None
        self._owner_gone = False
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> int:
        """Start the process and wait for its end. Gives its exit code, as a shell would."""
        self._catch_signals()
        try:
            child = self._spawn()
        except (OSError, subprocess.SubprocessError) as error:
            _report(f"error {error}")
            return 1
        _report(f"pid {child.pid}")
        while child.poll() is None:
            self._wait()
            self._act(child)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # whatever it left behind in its group
        return child.returncode if child.returncode >= 0 else 128 - child.returncode

    def _catch_signals(self) -> None:
        # Handlers, not SIG_IGN: an ignored signal would stay ignored in the process we start.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self._orders += 1

    def _spawn(self) -> "subprocess.Popen[bytes]":
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = os.open(self._plan["log"], flags, 0o600)
        try:
            return subprocess.Popen(
                self._plan["argv"],
                cwd=self._plan["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._plan["uid"],
                group=self._plan["gid"],
                extra_groups=None if self._plan["uid"] is None else [],
                process_group=0,
                preexec_fn=_ask_for_signal_at_parents_death(self._steps[0][0]),
            )
        finally:
            os.close(log)

    def _wait(self) -> None:
        timeout = LOG_CHECK_SECONDS
        if self._next_step_at is not None:
            timeout = min(timeout, max(0.0, self._next_step_at - time.monotonic()))
        sources = [self._wake_read] if self._owner_gone else [self._wake_read, 0]
        ready, _, _ = select.select(sources, [], [], timeout)
        if self._wake_read in ready:
            os.read(self._wake_read, 512)
        if 0 in ready and not os.read(0, 512):
            self._owner_gone = True
            self._orders = max(self._orders, 1)
        self._bound_log()

    def _act(self, child: "subprocess.Popen[bytes]") -> None:
        overdue = self._next_step_at is not None and time.monotonic() >= self._next_step_at
        if self._orders <= self._orders_done and not overdue:
            return
        self._orders_done = self._orders
        if not self._steps:
            self._next_step_at = time.monotonic() + 1.0
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            return
        number, seconds = self._steps.pop(0)
        self._next_step_at = time.monotonic() + seconds
        child.send_signal(number)

    def _bound_log(self) -> None:
        log = self._plan["log"]
        with contextlib.suppress(OSError):  # a full disk is no reason to end the server
            if os.path.getsize(log) > self._plan["log_bytes"]:
                # The process appends to the open file, so it can't be renamed away under it.
                shutil.copyfile(log, log + ".1")
                os.truncate(log, 0)


def _ask_for_signal_at_parents_death(number: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    keeper = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != keeper:  # it died before the request was in place
            os._exit(1)

    return ask


def _report(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, line.replace("\n", " ").encode() + b"\n")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # closes the pipe: there is no second line
    os.close(null)


if __name__ == "__main__":
    sys.exit(Keeper(json.loads(sys.argv[1])).run())
