"""The real Valkey and the real Postgres of a run, started when first needed."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from redis import Redis

from command.embedded.postgres import EmbeddedPostgres
from command.embedded.valkey import EmbeddedValkey
from persistence.migrations import migrate


class Stores:
    """Both servers, private to the run: the bench may empty them. They stop when it is left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self._valkey: EmbeddedValkey | None = None
        self._postgres: EmbeddedPostgres | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def redis_url(self) -> str:
        """Return the URL of the Valkey, which keeps an append-only file as in production."""
        if self._valkey is None:
            self._valkey = EmbeddedValkey(self.directory)
            self._valkey.start()
            self._stack.callback(self._valkey.stop)
        return self._valkey.url

    def redis(self) -> Redis:
        """Return a client of the Valkey."""
        client: Redis = Redis.from_url(self.redis_url())
        return client

    def database_url(self) -> str:
        """Return the URL of the Postgres, with the project's migrations applied."""
        if self._postgres is None:
            self._postgres = EmbeddedPostgres(self.directory)
            self._postgres.start()
            self._stack.callback(self._postgres.remove)
            asyncio.run(_migrate(self._postgres.url))
        return self._postgres.url


async def _migrate(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await migrate(connection)
    finally:
        await connection.close()
