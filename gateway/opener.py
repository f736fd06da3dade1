"""Opens sessions in the ledger, and gives an emptied ledger back what Postgres has of them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakValueDictionary

from gateway.tally import APART_SECONDS
from meter.codes import EndReason
from meter.ledger.calls import Argument
from meter.ledger.keys import PARTITIONS, partition_of
from meter.ledger.types import (
    AccountFigures,
    Counted,
    CountItem,
    LedgerUnavailable,
    Opened,
    OpenRequest,
    OpenStatus,
    SessionKey,
    SessionState,
    Storage,
    StorageUnavailable,
    StoredSession,
)
from meter.seconds import SecondSet

# Cold account, unknown session, then open; and all of it again if the ledger is emptied meanwhile.
MAX_STEPS = 6

# A session may have begun so long ago, as seconds may be so late.
CLAIM_SECONDS = 86_400

# Two machines' clocks are never that far apart: one of them is being set.
CLOCKS_APART_SECONDS = 60.0

# Speaks for a session without keeping others from it.
NOBODY = 0

# Organization, user, and whether the organization's live sessions are needed.
Seeding = tuple[str, str, bool]


class ClockInDoubt(LedgerUnavailable):
    """The ledger's clock and this process' are far apart. Whether the time is over, in which a lost
    session may be resumed, can be said once they agree again."""


class OpenerLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def open(self, request: OpenRequest) -> Opened: ...

    async def seed_account(self, figures: AccountFigures) -> int: ...

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool: ...

    async def claim_id(self, key: SessionKey, user_id: str) -> bool: ...

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]: ...

    async def count(self, items: list[CountItem]) -> list[Counted]: ...

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[Argument]
    ) -> list[Any]: ...


class Opener:
    """All raise `LedgerUnavailable` and `StorageUnavailable`; to try again is always right."""

    def __init__(
        self, ledger: OpenerLedger, storage: Storage, clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._seeding: dict[Seeding, asyncio.Task[None]] = {}

    def moment(self) -> int:
        """The epoch second that is under way by this machine's clock."""
        return int(self._clock())

    def turn(self, session_id: str) -> asyncio.Lock:
        """Held by the one who opens this session now."""
        return self._turns.setdefault(session_id, asyncio.Lock())

    async def open(
        self, request: OpenRequest, known: SessionState | None, claimed_origin: int | None = None
    ) -> Opened:
        """Make a session or resume it, wherever it is known: in the ledger, in Postgres, here
        (`known`, of a session that came to no row yet), or by its recorder alone, who claims that
        it began at `claimed_origin`."""
        for _ in range(MAX_STEPS):
            answer = await self._ledger.open(request)
            if answer.status in (OpenStatus.ACCOUNT_COLD, OpenStatus.MEMBER_COLD):
                await self.seed(request, with_live=answer.status is OpenStatus.ACCOUNT_COLD)
            elif answer.status is OpenStatus.ABSENT:
                claimed = _claimed(request, claimed_origin, answer.server_time)
                has_begun = known is not None or claimed_origin is not None
                found = await self._find(request, known or claimed, has_begun=has_begun)
                if isinstance(found, OpenStatus):
                    return Opened(found, answer.server_time)
                request = found
            else:
                await self._check_time(request, answer)
                return answer
        raise LedgerUnavailable("the ledger keeps losing what it is given")

    async def reopen(self, request: OpenRequest, known: SessionState | None) -> Opened:
        """Put a session back that the ledger lost, or ended as lost. It is claimed for nobody: a
        connection elsewhere may be the newer one, and must not be taken over by this."""
        return await self.open(replace(request, owner=NOBODY), known)

    async def find(self, key: SessionKey) -> SessionState | None:
        """The session as the ledger has it now."""
        return (await self._ledger.recall([key]))[0]

    async def has_ended_durably(self, key: SessionKey) -> bool:
        """Whether a session has ended, and Postgres has all its seconds."""
        found = await self.find(key)
        if found is not None:
            return found.ended_at is not None and found.durable_through >= found.highest
        stored = await self._storage.load_session(key.session_id)
        return stored is not None and stored.state.ended_at is not None

    async def restore_ended(self, key: SessionKey, origin: int, seconds: SecondSet) -> bool:
        """See that the ledger has a session that ended without these seconds, so that it can be
        given them. False where Postgres has them all, or another beginning of the session."""
        stored = await self._storage.load_session(key.session_id)
        if stored is None:
            return True  # it ended in the ledger
        if (stored.state.key, stored.state.origin) != (key, origin) or _has_all(stored, seconds):
            return False
        await self._ledger.restore_session(stored)
        return True

    async def owner(self, key: SessionKey) -> int:
        """Who speaks for a session."""
        (answer,) = await self._ledger.count([CountItem(key, ())])
        return answer.owner

    async def disown(self, request: OpenRequest) -> None:
        """Let go of a session that was opened for a client that left meanwhile; it may already be
        connected elsewhere."""
        with suppress(LedgerUnavailable):
            await self._ledger.open(replace(request, owner=NOBODY))

    async def _check_time(self, request: OpenRequest, answer: Opened) -> None:
        """An end that is told can't be taken back: that of a lost session depends on the time. And
        a recorder that is told a time before what it recorded gives other seconds their numbers."""
        ahead = answer.server_time - self._clock()
        if abs(ahead) < CLOCKS_APART_SECONDS:
            return
        if answer.status is OpenStatus.ENDED:
            found = await self.find(request.key)
            in_doubt = found is None or found.end_reason == EndReason.LOST
        else:
            session = answer.session
            in_doubt = (
                ahead < 0
                and request.owner != NOBODY
                and session is not None
                and session.origin + session.highest > answer.server_time + APART_SECONDS
            )
        if in_doubt:
            raise ClockInDoubt("the ledger's clock is far from this machine's")

    async def _find(
        self, request: OpenRequest, known: SessionState | None, *, has_begun: bool
    ) -> OpenRequest | OpenStatus:
        """Restore a session that the ledger doesn't have, or allow to create it. One that has begun
        before doesn't begin anew while Postgres may know it."""
        try:
            stored = await self._storage.load_session(request.key.session_id)
        except StorageUnavailable:
            if has_begun:
                raise
            mine = await self._ledger.claim_id(request.key, request.user_id)
            if not mine or await self._is_anothers(request.key):
                return OpenStatus.FOREIGN
            # The account is warm, so its limits are known. Should the id be an old one, its new
            # seconds are other seconds, and the rows' key still keeps each from counting twice.
            return replace(request, create=True)
        if stored is None and not await self._ledger.claim_id(request.key, request.user_id):
            return OpenStatus.FOREIGN
        if stored is None and known is None:
            return replace(request, create=True)
        if known is not None and (stored is None or stored.state.revision == 0):
            # Its own row isn't there yet.
            minutes = stored.minutes if stored is not None else ()
            stored = StoredSession(replace(known, revision=0), minutes)
        assert stored is not None
        state = stored.state
        if (state.key, state.user_id) != (request.key, request.user_id):
            return OpenStatus.FOREIGN
        if state.end_reason is not None and state.end_reason != EndReason.LOST:
            return OpenStatus.ENDED
        await self._ledger.restore_session(stored, request.metadata)
        return request

    async def _is_anothers(self, key: SessionKey) -> bool:
        """Whether another partition has a session of this id, which its own doesn't. That takes a
        look at each, so it is for when Postgres can't tell."""
        own = partition_of(key.organization_id)
        others = [partition for partition in range(PARTITIONS) if partition != own]
        return any(await self._ledger.survey("find", others, (key.session_id,)))

    async def seed(self, request: OpenRequest, *, with_live: bool) -> None:
        """Seed the account that a session is to be opened for."""
        await self.seed_account(request.key.organization_id, request.user_id, with_live=with_live)

    async def seed_account(self, organization_id: str, user_id: str, *, with_live: bool) -> None:
        """Give the ledger the account's figures, with the organization's live sessions where it
        doesn't know the organization; once for all who need them now."""
        seeding = (organization_id, user_id, with_live)
        task = self._seeding.get(seeding)
        if task is None:
            task = self._seeding[seeding] = asyncio.create_task(self._seed(*seeding))
            task.add_done_callback(lambda _: self._seeding.pop(seeding))
        await asyncio.shield(task)

    async def _seed(self, organization_id: str, user_id: str, with_live: bool) -> None:
        figures = await self._storage.load_account(
            organization_id, user_id, int(self._clock()), with_live=with_live
        )
        await self._ledger.seed_account(figures)


def _has_all(stored: StoredSession, seconds: SecondSet) -> bool:
    masks = {each.minute: each.mask for each in stored.minutes}
    return all(
        masks.get(moment // 60, 0) >> moment % 60 & 1
        for first, last in seconds.ranges()
        for moment in range(stored.state.origin + first, stored.state.origin + last + 1)
    )


def _claimed(request: OpenRequest, origin: int | None, server_time: float) -> SessionState | None:
    """A session as its recorder remembers it: as one that was lost, so that resuming it is subject
    to the account's limits."""
    if origin is None or not server_time - CLAIM_SECONDS <= origin <= server_time:
        return None
    return SessionState(
        key=request.key,
        user_id=request.user_id,
        kind=request.kind,
        origin=origin,
        revision=0,
        ended_at=int(server_time),
        end_reason=EndReason.LOST,
    )
