"""A dev server's data directory, and what a running one tells other programs by `dev.json`."""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from command.embedded.accounts import is_root
from command.embedded.files import kept_secret, make_directory, write_private
from command.errors import CommandError

STATE_FILE = "dev.json"


@dataclass(frozen=True)
class Pids:
    """Process ids; None for a server that was named by environment, or that is down just now."""

    gateway: int | None = None
    flusher: int | None = None
    redis: int | None = None
    postgres: int | None = None


@dataclass(frozen=True)
class DevState:
    """What `<data>/dev.json` says about the running dev server."""

    http_url: str
    database_url: str
    redis_url: str
    jwt_secret: str
    pids: Pids


def read_dev_state(data: Path) -> DevState:
    """The dev server running on `data`. Raises CommandError when there is none."""
    path = data / STATE_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return DevState(**{**fields, "pids": Pids(**fields["pids"])})
    except FileNotFoundError as error:
        raise CommandError(
            f"no dev server runs on {data}; start one with `make dev`, or name its directory "
            "with --data"
        ) from error
    except PermissionError as error:
        raise CommandError(f"{path} belongs to another user; run this as that user") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CommandError(f"{path} can't be read; start the dev server again") from error


class DataDirectory:
    """The data directory of one dev server, locked while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Make what is missing and take the lock.

        Raises DirectoryUnusable, and CommandError when another dev server has the lock.
        """
        # As root, Postgres runs as another user, who has to pass through. Secrets are 0600.
        make_directory(self.path, 0o711 if is_root() else 0o700)
        make_directory(self.logs)
        lock = (self.path / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise CommandError(
                f"a dev server (process {owner}) already runs on {self.path}; stop it, or name "
                "another directory with --data"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        self.forget_state()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def logs(self) -> Path:
        """Where the logs are."""
        return self.path / "logs"

    def jwt_secret(self) -> str:
        """The secret that the dev server's tokens are signed with; the same at every start."""
        return kept_secret(self.path / "jwt-secret")

    def write_state(self, state: DevState) -> None:
        """Tell other programs of the running server."""
        text = json.dumps(asdict(state), indent=2) + "\n"
        write_private(self.path / STATE_FILE, text)

    def forget_state(self) -> None:
        """No server runs any more, or not yet."""
        with suppress(FileNotFoundError):
            (self.path / STATE_FILE).unlink()
