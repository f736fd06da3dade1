"""Migrations: each file once, whoever comes, and never another one in its place."""

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from meter.ledger.types import StorageUnavailable
from persistence import migrations
from persistence.migrations import (
    Migration,
    MigrationError,
    Phase,
    SchemaOutdated,
    check_version,
    migrate,
    read,
    shipped,
    waiting,
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
    await migrate(connection, [FIRST])
    failing = Migration(2, "0002_bad.sql", "CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0002_bad\.sql failed: division by zero"):
        await migrate(connection, [FIRST, failing])
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert await migrate(connection, [FIRST, SECOND]) == [SECOND.name]
    await connection.close()


@pytest.mark.integration
async def test_a_file_that_fails_leaves_a_new_database_as_it_was(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    with pytest.raises(MigrationError, match=r"0002_bad\.sql failed: division by zero"):
        await migrate(connection, [FIRST, Migration(2, "0002_bad.sql", "SELECT 1 / 0;")])
    assert await connection.fetchval("SELECT to_regclass('first')") is None
    await connection.close()


# Before a deploy and after it ---------------------------------------------------------------------


@pytest.fixture
async def fresh(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


def files_of(*names: str) -> list[Migration]:
    """Migrations that each make a table called as they are."""
    return [
        Migration(number, f"{number:04d}_{name}.sql", f"CREATE TABLE {name.split('.')[0]} ()")
        for number, name in enumerate(names, 1)
    ]


async def tables(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND relname <> 'meter_migrations' ORDER BY oid"
    )
    return [row["relname"] for row in rows]


@pytest.mark.integration
async def test_those_for_before_a_deploy_are_applied_and_those_for_after_it_wait(
    fresh: asyncpg.Connection,
) -> None:
    known = files_of("a", "b", "c", "d.after", "e.after")
    await migrate(fresh, known[:1])
    assert await migrate(fresh, known, Phase.BEFORE) == ["0002_b.sql", "0003_c.sql"]
    assert await migrate(fresh, known, Phase.BEFORE) == []
    assert [each.name for each in await waiting(fresh, known)] == [
        "0004_d.after.sql",
        "0005_e.after.sql",
    ]
    assert await tables(fresh) == ["a", "b", "c"]
    assert await migrate(fresh, known, Phase.AFTER) == ["0004_d.after.sql", "0005_e.after.sql"]
    assert await migrate(fresh, known, Phase.AFTER) == []
    assert await tables(fresh) == ["a", "b", "c", "d", "e"]


@pytest.mark.integration
async def test_without_a_phase_all_are_applied_in_order(fresh: asyncpg.Connection) -> None:
    known = files_of("a", "b.after", "c", "d.after")
    await migrate(fresh, known[:1])
    assert await migrate(fresh, known) == [each.name for each in known[1:]]
    assert await waiting(fresh, known) == []


@pytest.mark.integration
@pytest.mark.parametrize("phase", Phase)
async def test_a_new_database_gets_all_in_either_phase_as_nothing_older_uses_it(
    fresh: asyncpg.Connection, phase: Phase
) -> None:
    known = files_of("a", "b.after", "c", "d.after")
    assert await migrate(fresh, known, phase) == [each.name for each in known]
    assert await tables(fresh) == ["a", "b", "c", "d"]


@pytest.mark.integration
async def test_one_for_before_a_deploy_waits_for_the_end_of_the_deploy_before(
    fresh: asyncpg.Connection,
) -> None:
    known = files_of("a", "b", "c.after", "d")
    await migrate(fresh, known[:1])
    with pytest.raises(
        MigrationError, match=r"0003_c\.after\.sql comes before 0004_d\.sql, .*--after`, then this"
    ):
        await migrate(fresh, known, Phase.BEFORE)
    assert await tables(fresh) == ["a", "b"]
    assert await migrate(fresh, known, Phase.AFTER) == ["0003_c.after.sql"]
    assert await migrate(fresh, known, Phase.BEFORE) == ["0004_d.sql"]


@pytest.mark.integration
async def test_one_for_after_a_deploy_is_refused_while_one_for_before_it_is_missing(
    fresh: asyncpg.Connection,
) -> None:
    known = files_of("a", "b", "c.after")
    await migrate(fresh, known[:1])
    with pytest.raises(
        MigrationError, match=r"0002_b\.sql comes before 0003_c\.after\.sql, .*--before`"
    ):
        await migrate(fresh, known, Phase.AFTER)
    assert await tables(fresh) == ["a"]


@pytest.mark.integration
async def test_a_program_needs_what_is_for_before_its_deploy_and_not_what_is_for_after_it(
    fresh: asyncpg.Connection,
) -> None:
    known = files_of("a", "b.after", "c", "d.after")
    await migrate(fresh, known[:2])
    with pytest.raises(SchemaOutdated, match=r"lacks 0003_c\.sql: run `meter migrate`"):
        await check_version(fresh, known)
    await migrate(fresh, known, Phase.BEFORE)
    await check_version(fresh, known)
    await migrate(fresh, known)
    await check_version(fresh, known[:3])  # an older one, to which newer schemas are no harm


@pytest.mark.integration
async def test_several_may_migrate_at_once_in_a_phase(empty_database_url: str) -> None:
    known = files_of("a", "b", "c", "d.after", "e.after")

    async def start() -> list[str]:
        connection = await asyncpg.connect(empty_database_url)
        try:
            return await migrate(connection, known, Phase.BEFORE)
        finally:
            await connection.close()

    for expected in ([each.name for each in known], []):
        applied = await asyncio.gather(*(start() for _ in range(5)))
        assert sorted(name for names in applied for name in names) == expected


@pytest.mark.integration
async def test_one_that_waits_for_a_table_lets_others_write_to_it_meanwhile(
    fresh: asyncpg.Connection, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "TABLE_LOCK_MS", 100)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.2)
    known = [FIRST, Migration(2, "0002_column.sql", "ALTER TABLE first ADD COLUMN note text")]
    await migrate(fresh, known[:1])
    others = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    reading = others[0].transaction()
    await reading.start()
    await others[0].execute("SELECT FROM first")  # a long report, say
    migrating = asyncio.create_task(migrate(fresh, known))
    for _ in range(10):
        await asyncio.wait_for(others[1].execute("INSERT INTO first VALUES (1)"), 30.0)
        await asyncio.sleep(0.05)
    assert not migrating.done()
    await reading.rollback()
    assert await migrating == ["0002_column.sql"]
    for other in others:
        await other.close()


@pytest.mark.integration
async def test_one_that_waits_for_a_table_for_ever_fails_and_is_named(
    fresh: asyncpg.Connection, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "TABLE_LOCK_MS", 20)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.01)
    known = [FIRST, Migration(2, "0002_column.sql", "ALTER TABLE first ADD COLUMN note text")]
    await migrate(fresh, known[:1])
    other = await asyncpg.connect(empty_database_url)
    async with other.transaction():
        await other.execute("SELECT FROM first")
        with pytest.raises(MigrationError, match=r"0002_column\.sql failed: .*hold a lock"):
            await migrate(fresh, known)
    await other.close()


@pytest.mark.integration
async def test_all_migrations_give_the_declared_schema(connection: asyncpg.Connection) -> None:
    declared = (files("sql") / "schema.txt").read_text(encoding="utf-8")
    await connection.execute("SET timezone = 'UTC'")
    assert await describe(connection) == declared, "run `python -m persistence.schema`"


@pytest.mark.integration
async def test_an_older_schema_is_told_from_the_one_needed(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    with pytest.raises(
        SchemaOutdated, match=r"lacks 0001_\w+\.sql and \d+ more: run `meter migrate`"
    ):
        await check_version(connection)
    await migrate(connection, shipped()[:-1])
    with pytest.raises(StorageUnavailable, match=rf"lacks {shipped()[-1].name}: run"):
        await check_version(connection)
    await migrate_at(empty_database_url)
    await check_version(connection)
    # One that is ahead serves older programs while they are replaced.
    await migrate(connection, [*shipped(), Migration(len(shipped()) + 1, "later.sql", "SELECT 1")])
    await check_version(connection)
    await connection.close()


@pytest.mark.parametrize(
    "names",
    [["0002_a.sql"], ["0001_a.sql", "0003_b.sql"], ["1_a.sql"], ["0001_a.later.sql"]],
)
def test_a_gap_or_a_bad_name_is_an_error(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=names[-1]):
        read(tmp_path)


def test_a_files_name_says_when_it_is_applied(tmp_path: Path) -> None:
    for name in ("0001_a.sql", "0002_b.after.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    assert [each.phase for each in read(tmp_path)] == [Phase.BEFORE, Phase.AFTER]


def test_line_ends_do_not_change_a_checksum() -> None:
    windows = Migration(1, "0001_a.sql", "SELECT\r\n1;\r\n")
    assert windows.checksum == Migration(1, "0001_a.sql", "SELECT\n1;\n").checksum
