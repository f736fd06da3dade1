"""Valkey servers that tests kill, stop for a while, and join to a cluster."""

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import redis

from command.embedded.files import free_port
from command.embedded.valkey import find_binary

SLOTS = 16_384


class Valkey:
    """A server without a password that a test may treat badly. It keeps nothing over a restart."""

    def __init__(self, directory: Path, *, cluster: bool = False) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        # By default the bus would be 10,000 ports further on, where there may be none.
        self.bus_port = free_port() if cluster else 0
        self._options = ["--cluster-port", str(self.bus_port)] if cluster else []
        self._options += ["--cluster-enabled", "yes"] if cluster else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        arguments = [str(find_binary()), "--port", str(self.port), "--bind", "127.0.0.1"]
        arguments += ["--dir", str(self._directory), "--save", "", *self._options]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.kill()
            raise

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """It keeps its connections and says nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2)


def join(nodes: list[Valkey]) -> None:
    """Make primaries of one cluster of them, each with its share of the slots."""
    share = SLOTS // len(nodes)
    for index, node in enumerate(nodes):
        with node.client() as client:
            last = SLOTS - 1 if node is nodes[-1] else (index + 1) * share - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", index * share, last)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
    with nodes[0].client() as client:
        for node in nodes[1:]:
            client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, node.bus_port)
    deadline = time.monotonic() + 30
    while not all(_knows_all(node, len(nodes)) for node in nodes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _knows_all(node: Valkey, size: int) -> bool:
    with node.client() as client:
        info = client.execute_command("CLUSTER INFO")
        slots = client.execute_command("CLUSTER SLOTS")
    return info["cluster_state"] == "ok" and len(slots) == size
