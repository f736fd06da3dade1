"""Small files and ports that embedded servers need."""

import os
import secrets
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from command.embedded.errors import DirectoryUnusable

LOOPBACK = "127.0.0.1"


def make_directory(path: Path, mode: int = 0o700) -> Path:
    """Make `path` with `mode` if it is missing; one that exists is left as it is.

    Raises DirectoryUnusable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir()
            path.chmod(mode)  # the process's umask may have narrowed it
        if not os.access(path, os.W_OK | os.X_OK):
            raise DirectoryUnusable(path, "it is not writable")
    except OSError as error:
        raise DirectoryUnusable(path, error.strerror or str(error)) from error
    if not path.is_dir():
        raise DirectoryUnusable(path, "it is not a directory")
    return path


def write_private(path: Path, text: str) -> None:
    """Put `text` into `path` in one step, readable by its owner only."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def kept_secret(path: Path) -> str:
    """The secret in `path`; a new random one is put there when there is none."""
    with suppress(FileNotFoundError):
        kept = path.read_text(encoding="utf-8").strip()
        if kept:
            return kept
    fresh = secrets.token_urlsafe(32)
    write_private(path, fresh + "\n")
    return fresh


def free_port() -> int:
    """A port of the loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` of `host`."""
    with socket.socket() as probe:
        # As servers do, so that connections of an earlier run in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
