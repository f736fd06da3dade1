"""The SQL is tested on two servers: the newest Postgres, out of the wheel, and a Postgres 15."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from command.embedded import EmbeddedPostgres
from tests.persistence.conftest import Server, cloned, migrate_at, run_sql, url_of
from tests.sql.system_postgres import SKIP, SystemPostgres, programs


@pytest.fixture(scope="session")
def system_postgres(servers_directory: Path) -> Iterator[SystemPostgres | None]:
    """A running Postgres 15; None where there is none."""
    found = programs()
    if found is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = SystemPostgres(found, servers_directory / "postgres-15", port)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["newest", "15"])
def server(
    request: pytest.FixtureRequest,
    postgres_server: EmbeddedPostgres,
    system_postgres: SystemPostgres | None,
) -> Server:
    """Each of the servers."""
    if request.param == "newest":
        return postgres_server
    if system_postgres is None:
        pytest.skip(SKIP)
    return system_postgres


@pytest.fixture(scope="session")
def made_templates() -> set[str]:
    """The servers that have the template, by their URLs."""
    return set()


@pytest.fixture(scope="session")
def sql_template(server: Server, made_templates: set[str]) -> str:
    """The name of a database with all migrations and no rows. (The fixture is made anew whenever
    the tests go on with the other server.)"""
    name = "sql_template"
    if server.url not in made_templates:
        asyncio.run(run_sql(server.url, f"CREATE DATABASE {name} TEMPLATE template0"))
        asyncio.run(migrate_at(url_of(server, name)))
        made_templates.add(server.url)
    return name


@pytest.fixture
async def sql_url(server: Server, sql_template: str) -> AsyncIterator[str]:
    """A migrated database for this test alone."""
    async with cloned(server, sql_template) as url:
        yield url


@pytest.fixture
async def db(sql_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(sql_url, server_settings={"timezone": "UTC"})
    yield connection
    await connection.close()
