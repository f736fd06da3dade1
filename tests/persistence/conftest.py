"""A database a test, cloned from a template with all migrations."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import asyncpg
import pytest

from command.embedded import EmbeddedPostgres
from persistence.database import Database
from persistence.migrations import migrate
from persistence.storage import PostgresStorage
from persistence.writer import Writer

_numbers = itertools.count(1)


class Server(Protocol):
    """A running Postgres."""

    @property
    def url(self) -> str:
        """A superuser's, of any of its databases."""


def url_of(server: Server, database: str) -> str:
    """The URL of a database on a server."""
    return urlsplit(server.url)._replace(path=f"/{database}").geturl()


async def run_sql(url: str, *statements: str) -> None:
    """Run statements outside a transaction."""
    connection = await asyncpg.connect(url)
    try:
        for sql in statements:
            await connection.execute(sql)
    finally:
        await connection.close()


async def migrate_at(url: str) -> None:
    """Migrate a database."""
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def cloned(server: Server, template: str) -> AsyncIterator[str]:
    """The URL of a copy of a database, which is dropped at the end."""
    name = f"test_{next(_numbers)}"
    await run_sql(server.url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield url_of(server, name)
    await run_sql(server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database with all migrations and no rows."""
    name = "persistence_template"
    asyncio.run(run_sql(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0"))
    asyncio.run(migrate_at(url_of(postgres_server, name)))
    return name


@pytest.fixture
async def database_url(
    postgres_server: EmbeddedPostgres, template_database: str
) -> AsyncIterator[str]:
    """A migrated database for this test alone."""
    async with cloned(postgres_server, template_database) as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database for this test alone without any migration."""
    async with cloned(postgres_server, "template0") as url:
        yield url


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to look into the test's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The test's database, as the flusher uses it."""
    database = Database(database_url, name="test", max_connections=4)
    yield database
    await database.aclose()


@pytest.fixture
def writer(database: Database) -> Writer:
    """A writer to the test's database."""
    return Writer(database)


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[PostgresStorage]:
    """The storage on the test's database."""
    storage = PostgresStorage(database_url)
    yield storage
    await storage.aclose()


@pytest.fixture
def private_server(servers_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A migrated server of this test's own, to be stopped and killed. Durable, as in production."""
    server = EmbeddedPostgres(servers_directory / "private")
    (servers_directory / "private").mkdir(exist_ok=True)
    server.start()
    asyncio.run(migrate_at(server.url))
    yield server
    server.remove()
