"""Brings a database to the program's schema: plain SQL files, in order, each once.

A file is for before a deploy, while older processes go on, unless it is called `….after.sql`: then
for when none of them is left. docs/deploying.md says how to write and to apply both.

Own code, as no maintained library was found that runs plain SQL with checksums under an advisory
lock over asyncpg.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from meter.ledger.types import StorageUnavailable
from persistence.database import Connection

# Any number that no other program locks in the same database.
LOCK = 5_064_320_021
# Who waits for a lock on a table is waited for by all who only want to write to it.
TABLE_LOCK_MS = 2000
TABLE_LOCK_TRIES = 20
PAUSE_SECONDS = 1.0

_AFTER = ".after.sql"
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+(\.after)?\.sql")

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


class _TableBusy(Exception):
    """A migration had to wait too long for a table, and was given up for now."""


class SchemaOutdated(StorageUnavailable):
    """The database lacks a migration without which this program can't work."""


class Phase(StrEnum):
    """When a migration is applied: before a deploy or after it."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `0001_name.sql` or `0001_name.after.sql`. Once applied anywhere it never
    changes."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal; line ends don't matter."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def phase(self) -> Phase:
        """When it is applied, as its name says."""
        return Phase.AFTER if self.name.endswith(_AFTER) else Phase.BEFORE


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
    connection: Connection,
    migrations: Sequence[Migration] | None = None,
    phase: Phase | None = None,
) -> list[str]:
    """Apply what is missing, or of it what belongs to a phase; the names of those applied.

    Each file is a transaction of its own, but all of them are one where the database has none yet,
    and then none is left out: no older process can be using it. Several may do this at once.

    Files keep their order in any case: one that isn't of the phase holds up those after it. Raises
    `MigrationError` where something of the phase was held up, as where a file fails; those before
    it stay applied.
    """
    known = shipped() if migrations is None else migrations
    applied: list[str] = []
    tries = 0
    while True:
        try:
            names = await _migrate_next(connection, known, phase)
        except _TableBusy as error:
            tries += 1
            if tries == TABLE_LOCK_TRIES:
                raise MigrationError(f"{error}: others hold a lock on its tables") from error
            await asyncio.sleep(PAUSE_SECONDS)  # those who were held up go first
            continue
        if not names:
            return applied
        applied += names


async def _migrate_next(
    connection: Connection, known: Sequence[Migration], phase: Phase | None
) -> list[str]:
    """Apply the next one, or on a new database all; their names."""
    async with connection.transaction():
        # Held to the transaction's end, so that a pooler between them cannot strand it.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(_MAKE_TABLE)
        missing = await _missing(connection, known)
        due = missing if len(missing) == len(known) else _due(missing, phase)
        await connection.execute(f"SET LOCAL lock_timeout = {TABLE_LOCK_MS}")
        for migration in due:
            await _apply(connection, migration)
        return [migration.name for migration in due]


async def waiting(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """Those that are not applied, after `migrate`."""
    return await _missing(connection, shipped() if migrations is None else migrations)


async def check_version(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> None:
    """Return when this program can work with the database's schema: one with all migrations that
    are for before a deploy, or a newer one, which still serves it. Raises `SchemaOutdated`."""
    known = shipped() if migrations is None else migrations
    present = await connection.fetchval("SELECT to_regclass('meter_migrations')::text")
    version = 0
    if present is not None:
        version = await connection.fetchval(
            "SELECT coalesce(max(version), 0) FROM meter_migrations"
        )
    lacking = [each.name for each in known[version:] if each.phase is Phase.BEFORE]
    if lacking:
        raise SchemaOutdated(f"the database lacks {_listed(lacking)}: run `meter migrate`")


def _due(missing: Sequence[Migration], phase: Phase | None) -> Sequence[Migration]:
    """The next one, where it belongs to the phase. Raises where one of the phase is held up."""
    if not missing:
        return ()
    first = missing[0]
    if phase is None or first.phase is phase:
        return [first]
    held_up = [each.name for each in missing if each.phase is phase]
    if not held_up:
        return ()
    if phase is Phase.BEFORE:
        raise MigrationError(
            f"{first.name} comes before {_listed(held_up)}, and is for when the deploy before this"
            " one has ended: where it has, run `meter migrate --after`, then this again; where that"
            " one is left out, stop all gateways and flushers, and run `meter migrate`"
        )
    raise MigrationError(
        f"{first.name} comes before {_listed(held_up)}, and is for before the deploy: run"
        " `meter migrate --before`, start all gateways and flushers anew, then run this again"
    )


def _listed(names: Sequence[str]) -> str:
    """The first, and how many more."""
    more = len(names) - 1
    return f"{names[0]} and {more} more" if more else names[0]


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
    except asyncpg.LockNotAvailableError as error:
        raise _TableBusy(f"{migration.name} failed: {error}") from error
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name} failed: {error}") from error
    await connection.execute(
        "INSERT INTO meter_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )
