"""The product's processes as the Procfile names them: started, killed, told to stop, watched."""

import asyncio
import itertools
import os
import secrets
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from command.embedded.kept import KeptProcess, Plan, StopStep

REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
ASK_SECONDS = 5.0
LOOPBACK = "127.0.0.1"
PORTS = range(15_000, 32_000)
STOP = (StopStep(signal.SIGTERM, 25.0), StopStep(signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds: open descriptors that are no sockets, connections that it has made and
    that it has taken, memory, threads, and tasks of its event loop."""

    files: int
    made: int
    taken: int
    megabytes: float
    threads: int
    tasks: int


class Program:
    """`meter NAME` with some environment. It ends with this process, however that ends.

    `oddities` are for `launch.py`: they hold from the next start on. It tells its metrics at
    `metrics_port`.
    """

    def __init__(
        self,
        name: str,
        label: str,
        directory: Path,
        environment: Mapping[str, str],
        metrics_port: int,
    ) -> None:
        self.label = label
        self.oddities: dict[str, str] = {}
        # When it was told to go, and was gone, in monotonic seconds: what it held went with it.
        self.gone: list[tuple[float, float]] = []
        self.metrics_port = metrics_port
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
        module = "tests.faults.launch" if self.oddities else "command.main"
        plan = Plan(
            name=self.label,
            argv=[sys.executable, "-m", module, self._name],
            cwd=REPOSITORY,
            log=self._directory / f"{self.label}-{next(self._starts):03}.log",
            stop=STOP,
            record=self._directory / f"{self.label}.json",
            env={**inherited, **self._environment, **self.oddities},
        )
        self._process = KeptProcess(plan)
        self._process.start()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            began = time.monotonic()
            self._process.kill()
            self._process.close()
            self.gone.append((began, time.monotonic()))

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        if self._process is not None:
            began = time.monotonic()
            self._process.stop()
            self.gone.append((began, time.monotonic()))

    def size(self) -> Size | None:
        """None while it does not run, or doesn't say."""
        pid = self._process.pid if self._process is not None else None
        if pid is None:
            return None
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            connections = process.net_connections("tcp")
            listening = {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}
            open_ones = [each for each in connections if each.status != psutil.CONN_LISTEN]
            taken = sum(each.laddr in listening for each in open_ones)
            # Idle ones of a pool that their server has cut have no state, but a descriptor.
            sockets = _sockets_of(pid) - len(listening)
            return Size(
                files=process.num_fds() - sockets,
                made=sockets - taken,
                taken=taken,
                megabytes=process.memory_info().rss / 2**20,
                threads=process.num_threads(),
                tasks=int(self.metric("meter_tasks")),
            )
        return None

    def metric(self, name: str) -> float:
        """One of its figures. Raises OSError when it doesn't say."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=ASK_SECONDS) as response:
            for line in response.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise OSError(f"{self.label} has no metric {name}")


def _sockets_of(pid: int) -> int:
    sockets = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            sockets += str(link.readlink()).startswith("socket:")
    return sockets


def port_of_its_own() -> int:
    """A free port of the loopback below those that systems give to outgoing connections: one of
    these could take it while the process that it belongs to is being restarted."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


class Flusher(Program):
    """A `meter flusher`."""

    def __init__(self, label: str, directory: Path, environment: Mapping[str, str]) -> None:
        port = port_of_its_own()
        address = {"METER_FLUSH_METRICS_PORT": str(port)}
        super().__init__("flusher", label, directory, {**environment, **address}, port)


class Gateway(Program):
    """A `meter gateway` on a port of its own."""

    def __init__(self, label: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.port = port_of_its_own()
        address = {"HOST": "127.0.0.1", "PORT": str(self.port)}
        super().__init__("gateway", label, directory, {**environment, **address}, self.port)

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
