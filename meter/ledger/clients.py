"""Connections to Redis (Valkey, or a cluster of either), and what they translate."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from meter.ledger.fence import Fence

MAX_CONNECTIONS = 40

Client = Redis | RedisCluster


class PackingConnection(Connection):
    """Packs commands in C: redis-py's own packing, of a batch's many arguments, is quadratic.
    Past a fence, it says nothing to a server that another one has taken the place of."""

    admitted: tuple[Fence, int] | None = None

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """As in redis-py, which connects anew where that is needed."""
        if self.admitted is not None and self.admitted[1] != self.admitted[0].generation:
            await self.disconnect(nowait=True)
        await super().send_packed_command(command, check_health)

    def pack_command(self, *args: Any) -> list[bytes]:
        """One command as the protocol's bytes."""
        return [hiredis.pack_command((*str(args[0]).split(), *args[1:]))]


def client_of(redis_url: str, timeout_seconds: float, fence: Fence | None = None) -> Redis:
    """A client at a `redis://`, `rediss://`, `valkey://` or `unix://` URL; connects on use."""
    pool = BlockingConnectionPool.from_url(
        _redis_scheme(redis_url),
        connection_class=PackingConnection,
        max_connections=MAX_CONNECTIONS,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=_retry(),
        redis_connect_func=fence and _greeting(fence),
    )
    return Redis.from_pool(pool)


async def cluster_of(single: Redis) -> RedisCluster | None:
    """A client of the cluster that the server is of, which takes the single one's place; None where
    it is of none."""
    if not await _is_cluster(single):
        return None
    options = single.connection_pool.connection_kwargs
    names = ("username", "password", "socket_timeout", "socket_connect_timeout")
    cluster = RedisCluster(
        host=options["host"],
        port=options["port"],
        ssl="ssl" in single.connection_pool.connection_class.__name__.lower(),
        retry=_retry(),
        **{name: options[name] for name in names if options.get(name) is not None},
    )
    await cluster.initialize()
    await single.aclose()
    return cluster


def primaries(client: Client) -> list[dict[str, Any]]:
    """Arguments of `execute_command` that send it to each primary in turn."""
    if isinstance(client, Redis):
        return [{}]
    return [{"target_nodes": node} for node in client.get_primaries()]


def _greeting(fence: Fence) -> Callable[[PackingConnection], Awaitable[None]]:
    async def greet(connection: PackingConnection) -> None:
        connection.admitted = None
        generation = await fence.connected(connection)
        connection.admitted = (fence, generation)

    return greet


def _retry() -> Retry:
    # Once more after a connection that was found dead; never after a time-out, which may last, and
    # which redis-py would by default sit out ten times.
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


async def _is_cluster(client: Redis) -> bool:
    try:
        info = await client.info("cluster")
    except ResponseError:  # a server without INFO is a stand-in, and no cluster
        return False
    return bool(info.get("cluster_enabled"))


def _redis_scheme(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme) + separator + rest
