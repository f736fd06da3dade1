"""What tests of whole processes need."""

from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture
def directory(servers_directory: Path) -> Path:
    """One that the user Postgres runs as can enter."""
    directory = servers_directory / f"faults-{uuid4().hex[:8]}"
    directory.mkdir(mode=0o711)
    directory.chmod(0o711)  # the process's umask may have narrowed it
    return directory
