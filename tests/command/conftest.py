"""Data directories, and a `meter dev` with stand-ins for its gateway, flusher and migrations."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from command.embedded.files import free_port
from tests.command.devrun import DevRun


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory that does not exist yet, reachable by every user."""
    parent = Path(tempfile.mkdtemp(prefix="minute-meter-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def dev(data: Path) -> Iterator[DevRun]:
    """`meter dev` on `data`, not started yet."""
    run = DevRun(data, free_port())
    yield run
    run.end()


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port of the loopback that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
