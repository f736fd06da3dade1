"""The ledger's driver: the only place that talks to Redis (Valkey, or a cluster of either).

Every call is idempotent, so a call that failed half way is simply made again, by the caller.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from meter.codes import EndReason
from meter.ledger import calls, loading, replies
from meter.ledger.clients import Client, client_of, cluster_of, primaries
from meter.ledger.fence import Fence
from meter.ledger.functions import LIBRARY, Library
from meter.ledger.keys import COMPARED_RUN, PARTITIONS, id_claim_of, partition_of, prefix_of
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

Result = TypeVar("Result")
# A function's name without its version, its keys, its arguments.
Call = tuple[str, Sequence[str], Sequence[calls.Argument]]

ID_CLAIM_KEPT_SECONDS = 3600


class Ledger:
    """The ledger's calls. All raise `LedgerUnavailable` when Redis cannot do them now."""

    def __init__(
        self,
        client: Client,
        rules: Rules,
        *,
        library: Library = LIBRARY,
        fence: Fence | None = None,
    ) -> None:
        self.rules = rules
        self._fence = fence
        self._client = client
        self._library = library
        self._prepared = False
        self._preparing = asyncio.Lock()

    @classmethod
    def connect(
        cls,
        redis_url: str,
        rules: Rules | None = None,
        timeout_seconds: float = 2.0,
        fence: Fence | None = None,
    ) -> "Ledger":
        """A ledger at a `redis://`, `rediss://`, `valkey://` or `unix://` URL; connects on use.
        Who counts on its figures passes a fence."""
        return cls(client_of(redis_url, timeout_seconds, fence), rules or Rules(), fence=fence)

    @property
    def generation(self) -> int:
        """Another number once a call was answered by another server than those before, or by one
        that was started anew: it may have gone back in time. Always 0 without a fence."""
        return self._fence.generation if self._fence else 0

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def prepare(self) -> None:
        """Load the function library where it is missing or older, on every primary."""
        await self._guard(self._prepare)

    async def ping(self) -> None:
        """Return when the ledger answers and has the functions."""
        (present,) = await self._run([("revision", (prefix_of(0),), ())])
        if present < self._library.revision:  # an older process was the first after a loss
            self._prepared = False

    async def tend_library(self) -> None:
        """As `prepare`, though they were there before; and delete those of versions long gone."""

        async def tend() -> None:
            self._prepared = False
            await self._prepare()
            await loading.prune(self._client, self._library.version)

        await self._guard(tend)

    async def open(self, request: OpenRequest) -> Opened:
        """Make a session, or resume it."""
        reply = await self._one("open", request.key, calls.open_arguments(request, self.rules))
        return replies.opened(request.key.session_id, reply)

    async def count(self, items: Sequence[CountItem]) -> list[Counted]:
        """Count seconds of many sessions; answers in the items' order."""
        if not self._prepared:
            await self.prepare()  # whether it is a cluster decides how items are grouped
        if isinstance(self._client, Redis):
            return await self._count([items]) if items else []
        by_partition: dict[int, list[int]] = {}
        for position, item in enumerate(items):
            partition = partition_of(item.key.organization_id)
            by_partition.setdefault(partition, []).append(position)
        counted = await self._count(
            [[items[at] for at in group] for group in by_partition.values()]
        )
        positions = [at for group in by_partition.values() for at in group]
        return [each for _, each in sorted(zip(positions, counted, strict=True))]

    async def _count(self, groups: Sequence[Sequence[CountItem]]) -> list[Counted]:
        """A call for each group of items: of one partition on a cluster; of all on a single server,
        where nothing forbids that."""
        answers = await self._run(
            [("count", *calls.count_call(group, self.rules)) for group in groups]
        )
        return [replies.counted(reply) for answer in answers for reply in answer]

    async def give_back(self, item: CountItem) -> Counted:
        """Count what a gateway had of a session and the ledger may have lost. Other than `count`,
        it counts in an ended session, too, what was before its end."""
        reply = await self._one("give_back", item.key, calls.give_back_arguments(item, self.rules))
        return replies.counted(reply)

    async def close(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None:
        """End a session; None when the ledger doesn't know it, or has less than so many seconds of
        it, as it lost some. Ending it again changes nothing, but that an operator (`ADMIN`) ends
        for good what was lost and might have been resumed."""
        reply = await self._one("close", key, [key.session_id, reason.value, at_least])
        return replies.session_state(key.session_id, reply) if reply else None

    async def note_told(self, told: Sequence[tuple[SessionKey, str]]) -> None:
        """Keep with sessions what they were warned of, in one round trip; `open` gives it back."""
        await self._run(
            [
                (
                    "note_told",
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
                    "look",
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
        return (await self.ask_each(function, [(organization_id, arguments)]))[0]

    async def ask_each(
        self, function: str, asked: Sequence[tuple[str, Sequence[calls.Argument]]]
    ) -> list[Any]:
        """As `ask`, of several organizations in one round trip; the replies in their order."""
        return await self._run(
            [
                (function, (prefix_of(partition_of(organization_id)),), arguments)
                for organization_id, arguments in asked
            ]
        )

    async def incarnation(self) -> str:
        """Another text after the server, or a primary of the cluster, has started anew or another
        one has taken its place."""
        return await self._guard(self._run_ids)

    async def compared(self) -> str | None:
        """The incarnation on which all figures were compared with Postgres; None when that was
        never said, or lost with all else."""

        async def read() -> str | None:
            found = await self._client.get(COMPARED_RUN)
            return None if found is None else replies.text(found)

        return await self._guard(read)

    async def note_compared(self, incarnation: str) -> None:
        """Say that all figures were compared with Postgres on this one."""

        async def write() -> None:
            await self._client.set(COMPARED_RUN, incarnation)

        await self._guard(write)

    async def _run_ids(self) -> str:
        if not self._prepared:
            await self._prepare()
        if isinstance(self._client, Redis):
            return str((await self._client.info("server"))["run_id"])
        found = [await self._client.info("server", **where) for where in primaries(self._client)]
        return " ".join(sorted(str(each["run_id"]) for each in found))

    async def names(self, pattern: str) -> list[str]:
        """All keys like this. It looks at every key, and in between others are served."""

        async def scan() -> list[str]:
            return [replies.text(name) async for name in self._client.scan_iter(pattern, 1000)]

        return await self._guard(scan)

    async def fields(self, name: str) -> list[str]:
        """The fields of the hash at this key."""

        async def read() -> list[str]:
            return [replies.text(field) for field in await self._client.hkeys(name)]

        return await self._guard(read)

    async def peek(self, sessions: Mapping[int, Sequence[str]]) -> list[Any]:
        """Sessions by partition, as they are now; the partitions' replies in order."""
        return await self._run(
            [
                ("peek", (prefix_of(partition),), session_ids)
                for partition, session_ids in sessions.items()
            ]
        )

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]:
        """Sessions as they are now, live or not, in one round trip; None for what the ledger
        doesn't know. No sign of life of theirs: it writes nothing."""
        answers = await self._run(
            [
                ("find", (prefix_of(partition_of(key.organization_id)),), (key.session_id,))
                for key in keys
            ]
        )
        return [
            replies.session_state(key.session_id, found) if found else None
            for key, (found,) in zip(keys, answers, strict=True)
        ]

    async def seed_account(self, figures: AccountFigures) -> int:
        """Set an account's figures where they are absent, with its live sessions. How many of
        those were put back.

        The account stays cold, so that the next call asks again, where the ledger was told newer
        limits meanwhile, or where the organization turns out to need its live sessions."""
        prefix = prefix_of(partition_of(figures.organization_id))
        arguments = calls.seed_arguments(figures)
        return cast(int, (await self._run([("seed", (prefix,), arguments)]))[0])

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
        """Give organizations the ledger knows their present limits; others are seeded with them."""
        await self._run(
            [
                (
                    "set_limits",
                    (prefix_of(partition_of(each.organization_id)),),
                    calls.limits_arguments(each),
                )
                for each in limits
            ]
        )

    async def claim_id(self, key: SessionKey, user_id: str) -> bool:
        """Whether a session's id is this user's: it is the first one's who claims it, for as long
        as it may take until Postgres has the session. Accounts of all partitions see it."""
        name, claimant = id_claim_of(key.session_id), f"{key.organization_id}\0{user_id}"

        async def claim() -> bool:
            first = await self._client.set(
                name, claimant, nx=True, get=True, ex=ID_CLAIM_KEPT_SECONDS
            )
            return first is None or replies.text(cast(bytes, first)) == claimant

        return await self._guard(claim)

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool:
        """Put a session back that the ledger lost; False when it is there already."""
        arguments = calls.restore_arguments(stored, metadata)
        return bool(await self._one("restore", stored.state.key, arguments))

    async def collect(
        self, partitions: Sequence[int], flusher_id: str, lease_seconds: float, limit: int
    ) -> list[Collected]:
        """End lost sessions, take or renew the partitions' leases, and give what is due."""
        arguments = calls.collect_arguments(flusher_id, lease_seconds, limit, self.rules)
        answers = await self._run(
            [("collect", (prefix_of(partition),), arguments) for partition in partitions]
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
                ("settle", (prefix_of(partition),), calls.settle_arguments(rows, self.rules))
                for partition, rows in by_partition.items()
            ]
        )

    async def set_aside(self, key: SessionKey, error: str) -> None:
        """Postgres refused this session's rows: keep them, and try again later."""
        arguments = [key.session_id, error[:500], self.rules.retry_refused_seconds]
        await self._one("set_aside", key, arguments)

    async def muster(self, flusher_id: str, lease_seconds: float) -> list[str]:
        """Say that a flusher is at work for so long (0: no longer); all who are, in order."""
        arguments = (flusher_id, int(lease_seconds * 1000))
        answer = (await self._run([("muster", (prefix_of(0),), arguments)]))[0]
        return sorted(replies.text(name) for name in answer)

    async def release(self, partitions: Sequence[int], flusher_id: str) -> None:
        """Give leases back, so that another flusher need not wait for their end."""
        await self._run(
            [("release", (prefix_of(partition),), (flusher_id,)) for partition in partitions]
        )

    async def backlog(self) -> Backlog:
        """What isn't durable yet, over all partitions."""
        return replies.backlog(
            await self._run([("backlog", (prefix_of(number),), ()) for number in range(PARTITIONS)])
        )

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
        client: Any, function: str, keys: Sequence[str], arguments: Sequence[calls.Argument]
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

    async def _guard(self, act: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await act()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            if isinstance(error, RedisConnectionError | OSError | TimeoutError):
                self._prepared = False  # the server that comes back may be an empty one
            raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error
