"""The product's processes as the Procfile names them: started, killed, told to stop, watched."""

import asyncio
import itertools
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from command.embedded.files import free_port
from command.embedded.kept import KeptProcess, Plan, StopStep

REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
STOP = (StopStep(signal.SIGTERM, 25.0), StopStep(signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds. Connections and files are descriptors."""

    descriptors: int
    megabytes: float
    threads: int


class Program:
    """`meter NAME` with some environment. It ends with this process, however that ends."""

    def __init__(self, name: str, label: str, directory: Path, environment: Mapping[str, str]):
        self.label = label
        self._name = name
        self._directory = directory
        self._environment = environment
        self._process: KeptProcess | None = None
        self._starts = itertools.count(1)

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.running

    @property
    def logs(self) -> list[Path]:
        """What it has said, a file a life."""
        return sorted(self._directory.glob(f"{self.label}-*.log"))

    def start(self) -> None:
        """Start it; returns at once."""
        # Not what the tests' own environment says of a server.
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("METER_")
        }
        plan = Plan(
            name=self.label,
            argv=[sys.executable, "-m", "command.main", self._name],
            cwd=REPOSITORY,
            log=self._directory / f"{self.label}-{next(self._starts):03}.log",
            stop=STOP,
            record=self._directory / f"{self.label}.json",
            env={**inherited, **self._environment},
        )
        self._process = KeptProcess(plan)
        self._process.start()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.close()

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        if self._process is not None:
            self._process.stop()

    def size(self) -> Size | None:
        """None while it does not run."""
        pid = self._process.pid if self._process is not None else None
        if pid is None:
            return None
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            return Size(process.num_fds(), process.memory_info().rss / 2**20, process.num_threads())
        return None


class Gateway(Program):
    """A `meter gateway` on a port of its own."""

    def __init__(self, label: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        address = {"HOST": "127.0.0.1", "PORT": str(self.port)}
        super().__init__("gateway", label, directory, {**environment, **address})

    async def wait_ready(self, path: str = "/readyz") -> None:
        """Return once it answers that it is ready."""
        deadline = time.monotonic() + READY_SECONDS
        while not await asyncio.to_thread(self._answers, path):
            if not self.running or time.monotonic() > deadline:
                raise AssertionError(f"{self.label} is not ready:\n{self.logs[-1].read_text()}")
            await asyncio.sleep(0.05)

    def _answers(self, path: str) -> bool:
        url = f"http://127.0.0.1:{self.port}{path}"
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
        return False
