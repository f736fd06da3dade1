"""The ledger's driver: the only place that talks to Redis (Valkey, or a cluster of either).

Every call is idempotent, so a call that failed half way is simply made again, by the caller.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeVar, cast

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from meter.codes import EndReason
from meter.ledger import calls, replies
from meter.ledger.keys import PARTITIONS, partition_of, prefix_of
from meter.ledger.types import (
    AccountFigures,
    AccountLimits,
    Backlog,
    Collected,
    Counted,
    CountItem,
    LedgerUnavailable,
    Look,
    LookItem,
    Opened,
    OpenRequest,
    Rules,
    SessionKey,
    SessionState,
    Settlement,
    StoredSession,
)

logger = logging.getLogger(__name__)

# One library out of parts, each of which may use what is in those before it.
LIBRARY = "\n".join(
    part.read_text()
    for part in sorted(
        files("meter.ledger").joinpath("library").iterdir(), key=lambda part: part.name
    )
    if part.name.endswith(".lua")
)
LIBRARY_REVISION = 5  # `mm1_revision` of LIBRARY

MAX_CONNECTIONS = 40

Result = TypeVar("Result")
Client = Redis | RedisCluster
Call = tuple[str, Sequence[str], Sequence[calls.Argument]]


class PackingConnection(Connection):
    """Packs commands in C: redis-py's own packing, of a batch's many arguments, is quadratic."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """One command as the protocol's bytes."""
        return [hiredis.pack_command((*str(args[0]).split(), *args[1:]))]


class Ledger:
    """The ledger's calls. All raise `LedgerUnavailable` when Redis cannot do them now."""

    def __init__(self, client: Client, rules: Rules, *, library: str = LIBRARY) -> None:
        self.rules = rules
        self._client = client
        self._library = library
        self._prepared = False
        self._preparing = asyncio.Lock()

    @classmethod
    def connect(
        cls, redis_url: str, rules: Rules | None = None, timeout_seconds: float = 2.0
    ) -> "Ledger":
        """A ledger at a `redis://`, `rediss://`, `valkey://` or `unix://` URL; connects on use."""
        pool = BlockingConnectionPool.from_url(
            _redis_scheme(redis_url),
            connection_class=PackingConnection,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_seconds,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=_retry(),
        )
        return cls(Redis.from_pool(pool), rules or Rules())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def prepare(self) -> None:
        """Load the function library where it is missing or older, on every primary."""
        await self._guard(self._prepare)

    async def ping(self) -> None:
        """Return when the ledger answers and has the functions."""
        await self._run([("mm1_revision", (prefix_of(0),), ())])

    async def open(self, request: OpenRequest) -> Opened:
        """Make a session, or resume it."""
        reply = await self._one("mm1_open", request.key, calls.open_arguments(request, self.rules))
        return replies.opened(request.key.session_id, reply)

    async def count(self, items: Sequence[CountItem]) -> list[Counted]:
        """Count seconds of many sessions; answers in the items' order."""
        if not self._prepared:
            await self.prepare()  # whether it is a cluster decides how items are grouped
        groups = self._group(items)
        results: list[Counted | None] = [None] * len(items)
        answers = await self._run(
            [
                ("mm1_count", prefixes, calls.count_arguments(numbered, self.rules))
                for prefixes, numbered, _ in groups
            ]
        )
        for (_, _, positions), answer in zip(groups, answers, strict=True):
            for position, reply in zip(positions, answer, strict=True):
                results[position] = replies.counted(reply)
        return cast(list[Counted], results)

    async def close(self, key: SessionKey, reason: EndReason) -> SessionState | None:
        """End a session; None when the ledger doesn't know it. Ending it again changes nothing, but
        that an operator (`ADMIN`) ends for good what was lost and might have been resumed."""
        reply = await self._one("mm1_close", key, [key.session_id, reason.value])
        return replies.session_state(key.session_id, reply) if reply else None

    async def note_told(self, told: Sequence[tuple[SessionKey, str]]) -> None:
        """Keep with sessions what they were warned of, in one round trip; `open` gives it back."""
        await self._run(
            [
                (
                    "mm1_note_told",
                    (prefix_of(partition_of(key.organization_id)),),
                    (key.session_id, text),
                )
                for key, text in told
            ]
        )

    async def look(self, items: Sequence[LookItem]) -> list[Look]:
        """Organizations as they are now, in one round trip; answers in the items' order. Writes
        nothing."""
        answers = await self._run(
            [
                (
                    "mm1_look",
                    (prefix_of(partition_of(item.organization_id)),),
                    calls.look_arguments(item),
                )
                for item in items
            ]
        )
        return [replies.look(answer) for answer in answers]

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[calls.Argument]
    ) -> list[Any]:
        """Ask a function of several partitions that writes nothing: their replies in order. On a
        single server one call covers them all."""
        if not self._prepared:
            await self.prepare()
        names = [prefix_of(partition) for partition in partitions]
        groups = [names] if isinstance(self._client, Redis) else [[name] for name in names]
        answers = await self._run([(function, group, arguments) for group in groups])
        return [reply for answer in answers for reply in answer]

    async def ask(
        self, function: str, organization_id: str, arguments: Sequence[calls.Argument]
    ) -> Any:
        """Call a function on an organization's partition."""
        prefix = prefix_of(partition_of(organization_id))
        return (await self._run([(function, (prefix,), arguments)]))[0]

    async def incarnation(self) -> str:
        """Another text after the server, or a primary of the cluster, has started anew or another
        one has taken its place."""
        return await self._guard(self._run_ids)

    async def _run_ids(self) -> str:
        if not self._prepared:
            await self._prepare()
        if isinstance(self._client, Redis):
            return str((await self._client.info("server"))["run_id"])
        nodes = self._client.get_primaries()
        found = [await self._client.info("server", target_nodes=node) for node in nodes]
        return " ".join(sorted(str(each["run_id"]) for each in found))

    async def names(self, pattern: str) -> list[str]:
        """All keys like this. It looks at every key, and in between others are served."""

        async def scan() -> list[str]:
            return [replies.text(name) async for name in self._client.scan_iter(pattern, 1000)]

        return await self._guard(scan)

    async def peek(self, sessions: Mapping[int, Sequence[str]]) -> list[Any]:
        """Sessions by partition, as they are now; the partitions' replies in order."""
        return await self._run(
            [
                ("mm1_peek", (prefix_of(partition),), session_ids)
                for partition, session_ids in sessions.items()
            ]
        )

    async def seed_account(self, figures: AccountFigures) -> int:
        """Set an account's figures where they are absent, with its live sessions. How many of
        those were put back.

        The account stays cold, so that the next call asks again, where the ledger was told newer
        limits meanwhile, or where the organization turns out to need its live sessions."""
        prefix = prefix_of(partition_of(figures.organization_id))
        arguments = calls.seed_arguments(figures)
        return cast(int, (await self._run([("mm1_seed", (prefix,), arguments)]))[0])

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
        """Give organizations the ledger knows their present limits; others are seeded with them."""
        await self._run(
            [
                (
                    "mm1_set_limits",
                    (prefix_of(partition_of(each.organization_id)),),
                    calls.limits_arguments(each),
                )
                for each in limits
            ]
        )

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool:
        """Put a session back that the ledger lost; False when it is there already."""
        arguments = calls.restore_arguments(stored, metadata)
        return bool(await self._one("mm1_restore", stored.state.key, arguments))

    async def collect(
        self, partitions: Sequence[int], flusher_id: str, lease_seconds: float, limit: int
    ) -> list[Collected]:
        """End lost sessions, take or renew the partitions' leases, and give what is due."""
        arguments = calls.collect_arguments(flusher_id, lease_seconds, limit, self.rules)
        answers = await self._run(
            [("mm1_collect", (prefix_of(partition),), arguments) for partition in partitions]
        )
        return [replies.collected(answer) for answer in answers]

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Let go of what Postgres has committed."""
        by_partition: dict[int, list[Settlement]] = {}
        for settlement in settlements:
            partition = partition_of(settlement.key.organization_id)
            by_partition.setdefault(partition, []).append(settlement)
        await self._run(
            [
                ("mm1_settle", (prefix_of(partition),), calls.settle_arguments(rows, self.rules))
                for partition, rows in by_partition.items()
            ]
        )

    async def set_aside(self, key: SessionKey, error: str) -> None:
        """Postgres refused this session's rows: keep them, and try again later."""
        arguments = [key.session_id, error[:500], self.rules.retry_refused_seconds]
        await self._one("mm1_set_aside", key, arguments)

    async def muster(self, flusher_id: str, lease_seconds: float) -> list[str]:
        """Say that a flusher is at work for so long (0: no longer); all who are, in order."""
        arguments = (flusher_id, int(lease_seconds * 1000))
        answer = (await self._run([("mm1_muster", (prefix_of(0),), arguments)]))[0]
        return sorted(replies.text(name) for name in answer)

    async def release(self, partitions: Sequence[int], flusher_id: str) -> None:
        """Give leases back, so that another flusher need not wait for their end."""
        await self._run(
            [("mm1_release", (prefix_of(partition),), (flusher_id,)) for partition in partitions]
        )

    async def backlog(self) -> Backlog:
        """What isn't durable yet, over all partitions."""
        return replies.backlog(
            await self._run(
                [("mm1_backlog", (prefix_of(number),), ()) for number in range(PARTITIONS)]
            )
        )

    def _group(
        self, items: Sequence[CountItem]
    ) -> list[tuple[tuple[str, ...], list[tuple[int, CountItem]], list[int]]]:
        """The items as batches that one call may cover: (prefixes, numbered items, positions).

        A single server takes them all at once; on a cluster a call stays within a partition.
        """
        partitions = [partition_of(item.key.organization_id) for item in items]
        if isinstance(self._client, Redis):
            prefixes = {partition: at for at, partition in enumerate(dict.fromkeys(partitions), 1)}
            numbered = [
                (prefixes[partition], item)
                for partition, item in zip(partitions, items, strict=True)
            ]
            names = tuple(prefix_of(partition) for partition in prefixes)
            return [(names, numbered, list(range(len(items))))] if items else []
        by_partition: dict[int, list[int]] = {}
        for position, partition in enumerate(partitions):
            by_partition.setdefault(partition, []).append(position)
        return [
            ((prefix_of(partition),), [(1, items[position]) for position in positions], positions)
            for partition, positions in by_partition.items()
        ]

    async def _one(self, function: str, key: SessionKey, arguments: Sequence[Any]) -> Any:
        prefix = prefix_of(partition_of(key.organization_id))
        return (await self._run([(function, (prefix,), arguments)]))[0]

    async def _run(self, batch: Sequence[Call]) -> list[Any]:
        """Call functions in one round trip; their replies in order."""
        if not batch:
            return []
        return await self._guard(lambda: self._execute(batch))

    async def _execute(self, batch: Sequence[Call]) -> list[Any]:
        if not self._prepared:
            await self._prepare()
        try:
            return await self._pipeline(batch)
        except ResponseError as error:
            if "not found" not in str(error):
                raise
            # The functions are gone: the server was emptied. They come back before its data does.
            self._prepared = False
            await self._prepare()
            return await self._pipeline(batch)

    async def _pipeline(self, batch: Sequence[Call]) -> list[Any]:
        if len(batch) == 1:
            function, keys, arguments = batch[0]
            return [await self._fcall(self._client, function, keys, arguments)]
        pipeline = self._client.pipeline(transaction=False)
        for function, keys, arguments in batch:
            pipeline.fcall(function, len(keys), *keys, *arguments)
        return await pipeline.execute()

    @staticmethod
    async def _fcall(
        client: Any, function: str, keys: Sequence[str], arguments: Sequence[calls.Argument]
    ) -> Any:
        return await client.fcall(function, len(keys), *keys, *arguments)

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._prepared:
                return
            await self._find_cluster()
            if isinstance(self._client, Redis):
                await self._load_where_older({})
            else:
                for node in self._client.get_primaries():
                    await self._load_where_older({"target_nodes": node})
            self._prepared = True

    async def _load_where_older(self, where: dict[str, Any]) -> None:
        try:
            present = await self._client.execute_command("FCALL", "mm1_revision", 0, **where)
        except ResponseError as error:
            if "not found" not in str(error):
                raise
            present = 0
        if present < LIBRARY_REVISION:
            await self._client.execute_command("FUNCTION LOAD", "REPLACE", self._library, **where)
            logger.info("loaded the ledger's functions, revision %d", LIBRARY_REVISION)

    async def _find_cluster(self) -> None:
        """Exchange the client for a cluster's when the server says that it is of one."""
        if not isinstance(self._client, Redis) or not await _is_cluster(self._client):
            return
        single = self._client
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
        self._client = cluster
        await single.aclose()

    async def _guard(self, act: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await act()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            if isinstance(error, RedisConnectionError | OSError | TimeoutError):
                self._prepared = False  # the server that comes back may be an empty one
            raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error


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
