"""Nothing outlives its owner, however that ends; what does is found at the next start."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from command.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.command.processes import alive, mentioning, within

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent


class Owner:
    """A process that owns both servers."""

    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.command.owner", str(data)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            facts = json.loads(stdout.readline())
        self.pids = [facts["Valkey"][0], facts["Postgres"][0]]

    def end(self, number: int) -> None:
        """End it by a signal."""
        self.process.send_signal(number)
        self.process.wait(30)

    @property
    def keepers(self) -> list[psutil.Process]:
        """The processes between it and the servers."""
        return psutil.Process(self.process.pid).children()


@pytest.fixture
def owner(data: Path) -> Iterator[Owner]:
    owner = Owner(data)
    yield owner
    owner.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_servers_end_in_good_order_with_their_owner(
    number: signal.Signals, owner: Owner, data: Path
) -> None:
    owner.end(number)
    assert within(60, lambda: not any(map(alive, owner.pids)))
    assert within(30, lambda: not mentioning(str(data)))
    assert "database system is shut down" in (data / "postgres.log").read_text()
    assert "bye bye" in (data / "valkey" / "valkey.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's death")
def test_the_servers_end_when_their_keepers_are_killed(owner: Owner) -> None:
    for keeper in owner.keepers:
        keeper.kill()
    assert within(60, lambda: not any(map(alive, owner.pids)))


def test_a_start_right_after_a_kill_waits_for_what_was_left(owner: Owner, data: Path) -> None:
    owner.end(signal.SIGKILL)
    servers = (EmbeddedValkey(data, durable=False), EmbeddedPostgres(data, durable=False))
    for server in servers:
        server.start()
    assert not any(map(alive, owner.pids))
    for server in servers:
        server.stop()


def test_leftovers_without_a_keeper_are_ended_at_the_next_start(owner: Owner, data: Path) -> None:
    everyone = [psutil.Process(pid) for pid in owner.pids]
    keepers = owner.keepers
    for process in [*everyone, *keepers]:
        process.suspend()  # so that none reacts to the death of another
    owner.end(signal.SIGKILL)
    for process in [*keepers, *everyone]:
        process.kill() if process in keepers else process.resume()
    server = EmbeddedPostgres(data, durable=False)
    server.start()
    assert not alive(owner.pids[1])
    server.stop()


def test_a_process_that_only_has_the_same_id_is_left_alone(data: Path) -> None:
    server = EmbeddedValkey(data)
    server.start()
    record = data / "valkey" / "run.json"
    parts = json.loads(record.read_text())
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        parts["process"]["pid"] = stranger.pid
        parts["owner"]["pid"] = parts["keeper"]["pid"] = 2**22 + 1
        record.write_text(json.dumps(parts))
        server.start()
        assert stranger.poll() is None
        stranger.kill()
    server.stop()


def test_the_servers_are_out_of_the_terminals_reach(owner: Owner) -> None:
    sessions = {os.getsid(pid) for pid in owner.pids}
    assert os.getsid(owner.process.pid) not in sessions
