"""Calls the server functions on Redis (Valkey, or a cluster of either), by name: loaded where they
are missing, several in one round trip, and with one error for all that can go wrong there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from meter.ledger import loading
from meter.ledger.calls import Argument
from meter.ledger.clients import Client, cluster_of, primaries
from meter.ledger.fence import Fence
from meter.ledger.functions import Library
from meter.ledger.keys import partition_of, prefix_of
from meter.ledger.types import LedgerUnavailable

Result = TypeVar("Result")
# A function's name without its version, its keys, its arguments.
Call = tuple[str, Sequence[str], Sequence[Argument]]


class FunctionCaller:
    """Calls a library's functions; gives their replies as they come. All raise `LedgerUnavailable`
    when Redis cannot do them now."""

    def __init__(self, client: Client, library: Library, fence: Fence | None = None) -> None:
        self._fence = fence
        self._client = client
        self._library = library
        self._prepared = False
        self._preparing = asyncio.Lock()

    # The server ----------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Another number once a call was answered by another server than those before, or by one
        that was started anew: it may have gone back in time. Always 0 without a fence."""
        return self._fence.generation if self._fence else 0

    async def incarnation(self) -> str:
        """Another text after the server, or a primary of the cluster, has started anew or another
        one has taken its place."""
        return await self._guard(self._run_ids)

    async def prepare(self) -> None:
        """Load the function library where it is missing or older, on every primary."""
        await self._guard(self._prepare)

    async def ping(self) -> None:
        """Return when the server answers and has the functions."""
        (present,) = await self._ask_partitions("revision", [(0, ())])
        if present < self._library.revision:  # an older process was the first after a loss
            self._prepared = False

    async def tend_library(self) -> None:
        """As `prepare`, though they were there before; and delete those of versions long gone."""

        async def tend() -> None:
            self._prepared = False
            await self._prepare()
            await loading.prune(self._client, self._library.version)

        await self._guard(tend)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    # Calls ---------------------------------------------------------------------------------------

    async def ask(self, function: str, organization_id: str, arguments: Sequence[Argument]) -> Any:
        """Call a function on an organization's partition."""
        return (await self.ask_each(function, [(organization_id, arguments)]))[0]

    async def ask_each(
        self, function: str, asked: Sequence[tuple[str, Sequence[Argument]]]
    ) -> list[Any]:
        """As `ask`, of several organizations in one round trip; the replies in their order."""
        return await self._ask_partitions(
            function,
            [(partition_of(organization_id), arguments) for organization_id, arguments in asked],
        )

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[Argument]
    ) -> list[Any]:
        """Ask a function of several partitions that writes nothing: their replies in order. On a
        single server one call covers them all."""
        names = [prefix_of(partition) for partition in partitions]
        groups = [[name] for name in names] if await self._is_cluster() else [names]
        answers = await self._run([(function, group, arguments) for group in groups])
        return [reply for answer in answers for reply in answer]

    async def _ask_partitions(
        self, function: str, asked: Sequence[tuple[int, Sequence[Argument]]]
    ) -> list[Any]:
        """Call a function on each of several partitions in one round trip; replies in order."""
        return await self._run(
            [(function, (prefix_of(partition),), arguments) for partition, arguments in asked]
        )

    async def _is_cluster(self) -> bool:
        """Whether a call has to keep to one partition."""
        if not self._prepared:
            await self.prepare()
        return not isinstance(self._client, Redis)

    # How they are carried out --------------------------------------------------------------------

    async def _run(self, batch: Sequence[Call]) -> list[Any]:
        """Call functions in one round trip; their replies in order."""
        if not batch:
            return []
        return await self._guard(lambda: self._execute(batch))

    async def _guard(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """What comes of it; any fault of Redis' as `LedgerUnavailable`."""
        try:
            return await act()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            if isinstance(error, RedisConnectionError | OSError | TimeoutError):
                self._prepared = False  # the server that comes back may be an empty one
            raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error

    async def _execute(self, batch: Sequence[Call]) -> list[Any]:
        if not self._prepared:
            await self._prepare()
        try:
            return await self._pipeline(batch)
        except ResponseError as error:
            if not loading.is_missing(error):
                raise
            # The functions are gone: the server was emptied. They come back before its data does.
            self._prepared = False
            await self._prepare()
            return await self._pipeline(batch)

    async def _pipeline(self, batch: Sequence[Call]) -> list[Any]:
        prefix = self._library.prefix
        if len(batch) == 1:
            function, keys, arguments = batch[0]
            return [await self._fcall(self._client, prefix + function, keys, arguments)]
        pipeline = self._client.pipeline(transaction=False)
        for function, keys, arguments in batch:
            pipeline.fcall(prefix + function, len(keys), *keys, *arguments)
        return await pipeline.execute()

    @staticmethod
    async def _fcall(
        client: Any, function: str, keys: Sequence[str], arguments: Sequence[Argument]
    ) -> Any:
        return await client.fcall(function, len(keys), *keys, *arguments)

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._prepared:
                return
            if isinstance(self._client, Redis):
                self._client = await cluster_of(self._client) or self._client
            await loading.load(self._client, self._library)
            self._prepared = True

    async def _run_ids(self) -> str:
        if not self._prepared:
            await self._prepare()
        if isinstance(self._client, Redis):
            return str((await self._client.info("server"))["run_id"])
        found = [await self._client.info("server", **where) for where in primaries(self._client)]
        return " ".join(sorted(str(each["run_id"]) for each in found))
