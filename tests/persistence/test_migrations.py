"""Migrations: each file once, whoever comes, and never another one in its place."""

import asyncio
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from meter.ledger.types import StorageUnavailable
from persistence.migrations import (
    Migration,
    MigrationError,
    check_version,
    migrate,
    read,
    shipped,
)
from persistence.schema import describe
from tests.persistence.conftest import migrate_at

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE first (id int); CREATE TABLE other (id int);")
SECOND = Migration(2, "0002_second.sql", "INSERT INTO first VALUES (1);")


@pytest.mark.integration
async def test_each_file_is_applied_once(connection: asyncpg.Connection) -> None:
    assert await migrate(connection) == []
    applied = await connection.fetch("SELECT name FROM meter_migrations ORDER BY version")
    assert [row["name"] for row in applied] == [migration.name for migration in shipped()]


@pytest.mark.integration
async def test_several_may_migrate_at_once(empty_database_url: str) -> None:
    async def start() -> list[str]:
        connection = await asyncpg.connect(empty_database_url)
        try:
            return await migrate(connection)
        finally:
            await connection.close()

    applied = await asyncio.gather(*(start() for _ in range(5)))
    assert sorted(name for names in applied for name in names) == [m.name for m in shipped()]


@pytest.mark.integration
async def test_a_changed_file_is_an_error_that_names_it(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    assert await migrate(connection, [FIRST, SECOND]) == [FIRST.name, SECOND.name]
    changed = Migration(1, FIRST.name, FIRST.sql + " -- a comment")
    with pytest.raises(MigrationError, match=r"0001_first\.sql is not what was applied"):
        await migrate(connection, [changed, SECOND])
    await connection.close()


@pytest.mark.integration
async def test_a_newer_database_is_an_error_that_says_so(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await migrate(connection, [FIRST, SECOND])
    with pytest.raises(MigrationError, match=r"newer than this program: it has 0002_second\.sql"):
        await migrate(connection, [FIRST])
    await connection.close()


@pytest.mark.integration
async def test_a_file_that_fails_is_named_and_leaves_nothing(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    failing = Migration(2, "0002_bad.sql", "CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0002_bad\.sql failed: division by zero"):
        await migrate(connection, [FIRST, failing])
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert await migrate(connection, [FIRST, SECOND]) == [SECOND.name]
    await connection.close()


@pytest.mark.integration
async def test_all_migrations_give_the_declared_schema(connection: asyncpg.Connection) -> None:
    declared = (files("sql") / "schema.txt").read_text(encoding="utf-8")
    await connection.execute("SET timezone = 'UTC'")
    assert await describe(connection) == declared, "run `python -m persistence.schema`"


@pytest.mark.integration
async def test_an_older_schema_is_told_from_the_one_needed(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    with pytest.raises(StorageUnavailable, match=r"at version 0, .* run `meter migrate`"):
        await check_version(connection)
    await migrate(connection, shipped()[:1])
    with pytest.raises(StorageUnavailable, match="at version 1"):
        await check_version(connection)
    await migrate_at(empty_database_url)
    await check_version(connection)
    # One that is ahead serves older programs while they are replaced.
    await migrate(connection, [*shipped(), Migration(len(shipped()) + 1, "later.sql", "SELECT 1")])
    await check_version(connection)
    await connection.close()


@pytest.mark.parametrize("names", [["0002_a.sql"], ["0001_a.sql", "0003_b.sql"], ["1_a.sql"]])
def test_a_gap_or_a_bad_name_is_an_error(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=names[-1]):
        read(tmp_path)


def test_line_ends_do_not_change_a_checksum() -> None:
    windows = Migration(1, "0001_a.sql", "SELECT\r\n1;\r\n")
    assert windows.checksum == Migration(1, "0001_a.sql", "SELECT\n1;\n").checksum
