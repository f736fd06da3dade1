"""Whether a database already has this program's schema, as far as can be told without asking it."""

import hashlib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from command.embedded.files import write_private


class SchemaStamp:
    """A note in the data directory of the migrations that its Postgres has.

    With it `meter migrate` has nothing to do, and the others needn't wait for it to say so.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / "schema"

    def is_current(self) -> bool:
        """Whether the noted migrations are the ones this program comes with."""
        with suppress(OSError):
            return self._path.read_text(encoding="utf-8").strip() == _fingerprint()
        return False

    def write(self) -> None:
        """All migrations have been applied."""
        write_private(self._path, _fingerprint() + "\n")

    def forget(self) -> None:
        """The database is new, or about to change."""
        self._path.unlink(missing_ok=True)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    folder = files("sql") / "migrations"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
