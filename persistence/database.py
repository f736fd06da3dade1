"""A small pool of connections that starts while Postgres is away and comes back with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from persistence.errors import storage_errors

Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy


class Database:
    """Connections to one database, made when they are first needed.

    A statement may take `timeout_seconds` on the server, and a little more until the client gives
    up on it; the client must be the later one, so that it learns what became of its commit.
    """

    def __init__(
        self, url: str, *, name: str, max_connections: int, timeout_seconds: float = 5.0
    ) -> None:
        self._url = url
        self._name = name
        self._max_connections = max_connections
        self._timeout_seconds = timeout_seconds
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection. The driver's errors in the block come out as `persistence.errors`'."""
        with storage_errors():
            pool = self._pool or await self._open()
            async with pool.acquire(timeout=self._timeout_seconds) as connection:
                yield connection

    async def aclose(self) -> None:
        """Close the connections; at once where a server doesn't answer."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), self._timeout_seconds)
        except TimeoutError:
            pool.terminate()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._max_connections,
                    max_cached_statement_lifetime=0,
                    timeout=self._timeout_seconds,
                    command_timeout=self._timeout_seconds + 1.0,
                    server_settings=self._server_settings(),
                )
            return self._pool

    def _server_settings(self) -> dict[str, str]:
        timeout_ms = str(int(self._timeout_seconds * 1000))
        return {
            "application_name": self._name,
            "statement_timeout": timeout_ms,
            "idle_in_transaction_session_timeout": timeout_ms,
            "timezone": "UTC",
            "jit": "off",  # the statements are short, and over many partitions look costly
        }
