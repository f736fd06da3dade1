"""Brings a database to the program's schema: plain SQL files, in order, each once.

Own code, as no maintained library was found that runs plain SQL with checksums under an advisory
lock over asyncpg.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from meter.ledger.types import StorageUnavailable
from persistence.database import Connection

# Any number that no other program locks in the same database.
LOCK = 5_064_320_021

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS meter_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The files and the database contradict each other; somebody has to look."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `0001_name.sql`. Once applied anywhere it never changes."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal; line ends don't matter."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


def read(directory: Traversable) -> tuple[Migration, ...]:
    """The migrations of a directory, in order. Raises `MigrationError` on a gap or a bad name."""
    names = sorted(entry.name for entry in directory.iterdir() if entry.name.endswith(".sql"))
    for position, name in enumerate(names, 1):
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) != position:
            raise MigrationError(f"{name}: migration {position:04d} was expected here")
    return tuple(
        Migration(version, name, directory.joinpath(name).read_text(encoding="utf-8"))
        for version, name in enumerate(names, 1)
    )


@cache
def shipped() -> tuple[Migration, ...]:
    """The migrations that belong to this program."""
    return read(files("sql") / "migrations")


async def migrate(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Apply what is missing, each file in a transaction of its own; the names of those applied.

    Several may do this at once. Raises `MigrationError`; where a file fails, those before it stay
    applied.
    """
    known = shipped() if migrations is None else migrations
    applied: list[str] = []
    while True:
        async with connection.transaction():
            # Held to the transaction's end, so that a pooler between them cannot strand it.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await connection.execute(_MAKE_TABLE)
            missing = await _missing(connection, known)
            if not missing:
                return applied
            await _apply(connection, missing[0])
            applied.append(missing[0].name)


async def check_version(connection: Connection) -> None:
    """Return when the database has this program's schema, or a newer one, which still serves it
    (see docs on deploying). Raises `StorageUnavailable`."""
    needed = len(shipped())
    present = await connection.fetchval("SELECT to_regclass('meter_migrations')::text")
    version = 0
    if present is not None:
        version = await connection.fetchval(
            "SELECT coalesce(max(version), 0) FROM meter_migrations"
        )
    if version < needed:
        raise StorageUnavailable(
            f"the database's schema is at version {version}, {needed} is needed:"
            " run `meter migrate`"
        )


async def _missing(connection: Connection, known: Sequence[Migration]) -> Sequence[Migration]:
    """The migrations to apply, after comparing those applied with the files."""
    rows = await connection.fetch(
        "SELECT version, name, checksum FROM meter_migrations ORDER BY version"
    )
    if len(rows) > len(known):
        raise MigrationError(
            f"the database is newer than this program: it has {rows[len(known)]['name']},"
            f" and {len(known)} migrations are known here"
        )
    for row, migration in zip(rows, known, strict=False):
        if (row["version"], row["checksum"]) != (migration.version, migration.checksum):
            raise MigrationError(
                f"{migration.name} is not what was applied to this database"
                f" (as {row['name']}): put the file back, and make the change in a new one"
            )
    return known[len(rows) :]


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        await connection.execute(migration.sql)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name} failed: {error}") from error
    await connection.execute(
        "INSERT INTO meter_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )
