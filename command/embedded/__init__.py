"""A real Valkey and a real Postgres out of Python wheels, run and kept by this project itself.

Both are for development and tests. Each listens on the loopback only, asks for a random password,
keeps its data over restarts, and ends when the process that started it ends, however that happens.
"""

from command.embedded.errors import (
    AlreadyRunning,
    BinaryMissing,
    DirectoryUnusable,
    DiskFull,
    EmbeddedServerError,
    NoUnprivilegedUser,
    PortInUse,
    StartFailed,
)
from command.embedded.postgres import EmbeddedPostgres
from command.embedded.valkey import EmbeddedValkey

__all__ = [
    "AlreadyRunning",
    "BinaryMissing",
    "DirectoryUnusable",
    "DiskFull",
    "EmbeddedPostgres",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "NoUnprivilegedUser",
    "PortInUse",
    "StartFailed",
]
