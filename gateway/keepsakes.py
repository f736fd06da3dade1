"""What sessions whose connection is gone had not seen durable.

A recorder that comes back to this gateway finds it here. One that doesn't, as it vanished for good,
leaves its last seconds with the ledger and here alone: should the ledger lose them, they are given
back from here. Looking is no sign of life, so the session ends as lost as any other does.
"""

import asyncio
import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice
from typing import Protocol

from gateway.opener import NOBODY, Opener
from gateway.tally import Tally
from meter.codes import EndReason
from meter.ledger.types import (
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    SessionKey,
    SessionState,
    StorageUnavailable,
)

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LOOKS_A_SECOND = 1000
BATCH = 500
# As long as a session may be resumed by default. What Postgres then still doesn't have, as it is
# away, is left to the ledger.
KEEP_SECONDS = 900.0
# One is some 2 KB and its metadata. Past so many, those that went first are let go of.
MAX_SESSIONS = 20_000


class KeepsakesLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]: ...

    async def count(self, items: list[CountItem]) -> list[Counted]: ...


@dataclass(slots=True)
class Keepsake:
    """A session, how it was when this gateway had it, and since when its connection is gone."""

    request: OpenRequest
    state: SessionState
    tally: Tally
    since: float

    @property
    def key(self) -> SessionKey:
        return self.request.key


class Verdict(Enum):
    """What to do with one."""

    KEEP = auto()
    LET_GO = auto()
    GIVE_BACK = auto()


def verdict(kept: Keepsake, found: SessionState | None) -> Verdict:
    """What the ledger's present state of a session says."""
    if found is None:
        return Verdict.GIVE_BACK
    if (found.key, found.origin) != (kept.key, kept.state.origin):
        return Verdict.LET_GO  # its numbers are other moments'
    may_count = found.ended_at is None or found.end_reason == EndReason.LOST
    # A session's total can't fall, unless the ledger lost some.
    if may_count and found.seconds < kept.tally.seconds:
        return Verdict.GIVE_BACK
    is_durable = found.durable_through >= kept.tally.undurable.highest()
    return Verdict.LET_GO if is_durable else Verdict.KEEP


class Keepsakes:
    """Of one gateway; `look` is to be called whenever it `is_due`. `others` has the ids of sessions
    that are looked after elsewhere."""

    def __init__(
        self,
        ledger: KeepsakesLedger,
        opener: Opener,
        others: Container[str] = (),
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._opener = opener
        self._others = others
        self._keep_seconds = keep_seconds
        self._kept: dict[str, Keepsake] = {}
        self._looking = False
        self._looked_at = float("-inf")

    def __len__(self) -> int:
        return len(self._kept)

    def seconds(self) -> int:
        """How many seconds are kept, but for those that are looked after elsewhere."""
        return sum(
            len(kept.tally.undurable)
            for session_id, kept in self._kept.items()
            if session_id not in self._others
        )

    def keep(self, request: OpenRequest, state: SessionState, tally: Tally, now: float) -> None:
        """Keep what is not durable of this session."""
        if not tally.undurable:
            return
        session_id = request.key.session_id
        self._kept.pop(session_id, None)
        if len(self._kept) >= MAX_SESSIONS:
            del self._kept[next(iter(self._kept))]
        self._kept[session_id] = Keepsake(request, state, tally, now)

    def give(self, session_id: str) -> Tally | None:
        """What was kept of this session, and no longer is."""
        kept = self._kept.pop(session_id, None)
        return kept.tally if kept is not None else None

    def prune(self, now: float) -> None:
        """Let go of what was kept long enough."""
        for session_id, kept in list(self._kept.items()):
            if now - kept.since < self._keep_seconds:
                return
            del self._kept[session_id]

    def is_due(self, now: float) -> bool:
        """Whether to `look` again."""
        if not self._kept or self._looking:
            return False
        return now - self._looked_at >= max(LOOK_SECONDS, len(self._kept) / LOOKS_A_SECOND)

    async def look(self, now: float) -> None:
        """Let go of what is durable, and give back what the ledger has lost."""
        self._looking, self._looked_at = True, now
        try:
            await self._look()
        except (LedgerUnavailable, StorageUnavailable) as error:
            logger.warning("what %d sessions left is kept on: %s", len(self._kept), error)
        finally:
            self._looking = False

    async def _look(self) -> None:
        waiting = iter([kept for name, kept in self._kept.items() if name not in self._others])
        while batch := list(islice(waiting, BATCH)):
            found = await self._ledger.recall([kept.key for kept in batch])
            for kept, state in zip(batch, found, strict=True):
                match verdict(kept, state):
                    case Verdict.LET_GO:
                        self._let_go(kept)
                    case Verdict.GIVE_BACK:
                        await self._give_back_in_turn(kept, state)

    async def _give_back_in_turn(self, kept: Keepsake, found: SessionState | None) -> None:
        async with self._turn_of(kept):
            if self._kept.get(kept.key.session_id) is not kept:
                return  # its recorder is back
            try:
                await self._give_back(kept, found)
            except (LedgerUnavailable, StorageUnavailable):
                raise
            except Exception:
                logger.exception("a session's last seconds can't be given back now")

    def _turn_of(self, kept: Keepsake) -> asyncio.Lock:
        return self._opener.turn(kept.key.session_id)

    async def _give_back(self, kept: Keepsake, found: SessionState | None) -> None:
        # One that goes on elsewhere is not opened, and stays with who speaks for it.
        if found is None or found.ended_at is not None:
            nobody = replace(kept.request, owner=NOBODY)
            answer = await self._opener.open(nobody, kept.state)
            if answer.session is None:
                if answer.status is not OpenStatus.TOO_MANY_SESSIONS:
                    self._let_go(kept)
                return
        ranges = kept.tally.undurable.ranges()
        (reply,) = await self._ledger.count([CountItem(kept.key, ranges)])
        if reply.status is CountStatus.COUNTED:
            kept.tally.seconds = reply.seconds  # all it takes: what it refuses isn't given again
            logger.warning("a lost session's last seconds are counted again: the ledger lost them")

    def _let_go(self, kept: Keepsake) -> None:
        if self._kept.get(kept.key.session_id) is kept:
            del self._kept[kept.key.session_id]
