"""The ledger's driver: what gateways, flushers and audits ask of it, as calls.

Every call is idempotent, so a call that failed half way is simply made again, by the caller.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from meter.codes import EndReason
from meter.ledger import calls, replies
from meter.ledger.caller import FunctionCaller
from meter.ledger.clients import Client, client_of
from meter.ledger.fence import Fence
from meter.ledger.functions import LIBRARY, Library
from meter.ledger.keys import COMPARED_RUN, PARTITIONS, id_claim_of, partition_of
from meter.ledger.types import (
    AccountFigures,
    AccountLimits,
    Backlog,
    Collected,
    Counted,
    CountItem,
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

ID_CLAIM_KEPT_SECONDS = 3600


class Ledger(FunctionCaller):
    """The ledger's calls. All raise `LedgerUnavailable` when Redis cannot do them now."""

    def __init__(
        self,
        client: Client,
        rules: Rules,
        *,
        library: Library = LIBRARY,
        fence: Fence | None = None,
    ) -> None:
        super().__init__(client, library, fence)
        self.rules = rules

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

    # Sessions ------------------------------------------------------------------------------------

    async def open(self, request: OpenRequest) -> Opened:
        """Make a session, or resume it."""
        arguments = calls.open_arguments(request, self.rules)
        reply = await self.ask("open", request.key.organization_id, arguments)
        return replies.opened(request.key.session_id, reply)

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

    async def count(self, items: Sequence[CountItem]) -> list[Counted]:
        """Count seconds of many sessions; answers in the items' order."""
        if not await self._is_cluster():
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
        arguments = calls.give_back_arguments(item, self.rules)
        return replies.counted(await self.ask("give_back", item.key.organization_id, arguments))

    async def close(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None:
        """End a session; None when the ledger doesn't know it, or has less than so many seconds of
        it, as it lost some. Ending it again changes nothing, but that an operator (`ADMIN`) ends
        for good what was lost and might have been resumed."""
        arguments = (key.session_id, reason.value, at_least)
        reply = await self.ask("close", key.organization_id, arguments)
        return replies.session_state(key.session_id, reply) if reply else None

    async def note_told(self, told: Sequence[tuple[SessionKey, str]]) -> None:
        """Keep with sessions what they were warned of, in one round trip; `open` gives it back."""
        await self.ask_each(
            "note_told", [(key.organization_id, (key.session_id, text)) for key, text in told]
        )

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]:
        """Sessions as they are now, live or not, in one round trip; None for what the ledger
        doesn't know. No sign of life of theirs: it writes nothing."""
        answers = await self.ask_each(
            "find", [(key.organization_id, (key.session_id,)) for key in keys]
        )
        return [
            replies.session_state(key.session_id, found) if found else None
            for key, (found,) in zip(keys, answers, strict=True)
        ]

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool:
        """Put a session back that the ledger lost; False when it is there already."""
        arguments = calls.restore_arguments(stored, metadata)
        return bool(await self.ask("restore", stored.state.key.organization_id, arguments))

    # Accounts ------------------------------------------------------------------------------------

    async def look(self, items: Sequence[LookItem]) -> list[Look]:
        """Organizations as they are now, in one round trip; answers in the items' order. Writes
        nothing."""
        answers = await self.ask_each(
            "look", [(item.organization_id, calls.look_arguments(item)) for item in items]
        )
        return [replies.look(answer) for answer in answers]

    async def seed_account(self, figures: AccountFigures) -> int:
        """Set an account's figures where they are absent, with its live sessions. How many of
        those were put back.

        The account stays cold, so that the next call asks again, where the ledger was told newer
        limits meanwhile, or where the organization turns out to need its live sessions."""
        arguments = calls.seed_arguments(figures)
        return cast(int, await self.ask("seed", figures.organization_id, arguments))

    async def set_limits(self, limits: Sequence[AccountLimits]) -> None:
        """Give organizations the ledger knows their present limits; others are seeded with them."""
        await self.ask_each(
            "set_limits", [(each.organization_id, calls.limits_arguments(each)) for each in limits]
        )

    # Flushing ------------------------------------------------------------------------------------

    async def muster(self, flusher_id: str, lease_seconds: float) -> list[str]:
        """Say that a flusher is at work for so long (0: no longer); all who are, in order."""
        arguments = (flusher_id, int(lease_seconds * 1000))
        (answer,) = await self._ask_partitions("muster", [(0, arguments)])
        return sorted(replies.text(name) for name in answer)

    async def collect(
        self,
        partitions: Sequence[int],
        flusher_id: str,
        lease_seconds: float,
        limit: int,
        own_time: int | None = None,
    ) -> list[Collected]:
        """End lost sessions, take or renew the partitions' leases, and give what is due. None are
        ended while `own_time`, the flusher's epoch seconds, is far from the ledger's: one of the
        two clocks is wrong."""
        arguments = calls.collect_arguments(flusher_id, lease_seconds, limit, self.rules, own_time)
        answers = await self._ask_partitions(
            "collect", [(partition, arguments) for partition in partitions]
        )
        return [replies.collected(answer) for answer in answers]

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Let go of what Postgres has committed."""
        by_partition: dict[int, list[Settlement]] = {}
        for settlement in settlements:
            partition = partition_of(settlement.key.organization_id)
            by_partition.setdefault(partition, []).append(settlement)
        await self._ask_partitions(
            "settle",
            [
                (partition, calls.settle_arguments(rows, self.rules))
                for partition, rows in by_partition.items()
            ],
        )

    async def set_aside(self, key: SessionKey, error: str) -> None:
        """Postgres refused this session's rows: keep them, and try again later."""
        arguments = (key.session_id, error[:500], self.rules.retry_refused_seconds)
        await self.ask("set_aside", key.organization_id, arguments)

    async def release(self, partitions: Sequence[int], flusher_id: str) -> None:
        """Give leases back, so that another flusher need not wait for their end."""
        await self._ask_partitions(
            "release", [(partition, (flusher_id,)) for partition in partitions]
        )

    async def backlog(self) -> Backlog:
        """What isn't durable yet, over all partitions."""
        return replies.backlog(
            await self._ask_partitions("backlog", [(number, ()) for number in range(PARTITIONS)])
        )

    # Audits and operators ------------------------------------------------------------------------

    async def peek(self, sessions: Mapping[int, Sequence[str]]) -> list[Any]:
        """Sessions by partition, as they are now; the partitions' replies in order."""
        return await self._ask_partitions("peek", list(sessions.items()))

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
