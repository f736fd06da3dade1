"""The real servers that tests share: one Valkey and one Postgres a run, started on demand.

Both come out of Python wheels, listen on free ports of the loopback, and trade safety against a
crash of the machine for speed.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from command.embedded import EmbeddedPostgres, EmbeddedValkey

# How long an example takes says something of the machine, and nothing of the program.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """A directory that the user Postgres runs as can enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="minute-meter-tests-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server(servers_directory: Path) -> Iterator[EmbeddedValkey]:
    """A running Valkey; `valkey_server.url` is for REDIS_URL."""
    server = EmbeddedValkey(servers_directory, durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A running Postgres; `postgres_server.url` is a superuser's, for DATABASE_URL."""
    server = EmbeddedPostgres(servers_directory, durable=False)
    server.start()
    yield server
    server.stop()
