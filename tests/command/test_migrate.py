"""`meter migrate`, and what the other processes do where it hasn't been run."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from command.embedded import EmbeddedPostgres
from command.errors import CommandError
from command.group import app
from persistence import migrations
from persistence.migrations import Migration, shipped
from persistence.startup import outdated_schema
from tests.command.devrun import meter
from tests.persistence.conftest import migrate_at, run_sql, url_of

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
ADDED = "ALTER TABLE usage_tracking ADD COLUMN note text"
DROPPED = "ALTER TABLE usage_tracking DROP COLUMN note"


@pytest.fixture
def url(postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database without any migration, named by the environment."""
    asyncio.run(run_sql(postgres_server.url, "CREATE DATABASE migrate_command TEMPLATE template0"))
    url = url_of(postgres_server, "migrate_command")
    monkeypatch.setenv("DATABASE_URL", url)
    yield url
    asyncio.run(run_sql(postgres_server.url, "DROP DATABASE migrate_command WITH (FORCE)"))


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """This program with two more migrations: their names, for before its deploy and for after."""
    number = len(shipped()) + 1
    names = (f"{number:04d}_note.sql", f"{number + 1:04d}_no_note.after.sql")
    known = (
        *shipped(),
        Migration(number, names[0], ADDED),
        Migration(number + 1, names[1], DROPPED),
    )
    monkeypatch.setattr(migrations, "shipped", lambda: known)
    return names


def migrate(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["migrate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_a_release_is_applied_before_its_deploy_and_after_it(
    url: str, next_release: tuple[str, str]
) -> None:
    before, after = next_release
    asyncio.run(migrate_at_release(url, 2))
    assert asyncio.run(outdated_schema(url)) == f"the database lacks {before}: run `meter migrate`"
    assert migrate("--before") == [
        f"applied {before}",
        f"{after} is left, for after a deploy",
    ]
    assert asyncio.run(outdated_schema(url)) is None
    assert migrate("--after") == [f"applied {after}", "the database is up to date"]
    assert migrate() == ["the database is up to date"]


async def migrate_at_release(url: str, left: int) -> None:
    """Apply all but the last migrations."""
    connection = await asyncpg.connect(url)
    await migrations.migrate(connection, migrations.shipped()[:-left])
    await connection.close()


def test_without_options_all_is_applied(url: str, next_release: tuple[str, str]) -> None:
    asyncio.run(migrate_at_release(url, 2))
    assert migrate() == [
        *(f"applied {name}" for name in next_release),
        "the database is up to date",
    ]


def test_before_and_after_at_once_is_no_phase() -> None:
    result = CliRunner().invoke(app, ["migrate", "--before", "--after"])
    assert isinstance(result.exception, CommandError)
    assert result.exception.exit_code == 2


@pytest.mark.parametrize("name", ["gateway", "flusher"])
def test_a_process_does_not_start_where_a_migration_is_missing_and_names_it(
    url: str, name: str
) -> None:
    ended = subprocess.run(
        [*meter(), name],
        env={
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": url,
            "REDIS_URL": "redis://127.0.0.1:1",
            "METER_JWT_SECRET": "a secret of at least thirty-two bytes",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"meter {name}: the database lacks {shipped()[0].name} and ")
    assert last.endswith("run `meter migrate`")


async def test_a_postgres_that_is_away_keeps_nobody_from_starting() -> None:
    assert await outdated_schema("postgresql://u:p@127.0.0.1:1/x") is None


def test_a_migrated_database_is_what_is_needed(url: str) -> None:
    asyncio.run(migrate_at(url))
    assert asyncio.run(outdated_schema(url)) is None
