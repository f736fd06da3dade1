"""What sessions that no connection here speaks for any more had counted, and not seen durable.

Some ended, some lost their connection; for a while the ledger and this gateway alone have their
last seconds. Should the ledger lose them, they are given back from here, and what had ended ends
once more. Looking is no sign of life: a session whose recorder vanished is lost when it would be.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol

from gateway.kept import Kept, Verdict, verdict
from gateway.opener import ClockInDoubt, Opener
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

# Some recorders wait to be told that their end is durable. With many kept, which are those of an
# outage, a while more.
HURRIED_SECONDS = 0.25
LOOK_SECONDS = 1.0
LOOKS_A_SECOND = 2000
BATCH = 500
AT_ONCE = 8
# As long as a session may be resumed by default. What Postgres then still doesn't have, as it is
# away, is left to the ledger.
KEEP_SECONDS = 900.0
# No second is counted that is older.
MOST_KEEP_SECONDS = 86_400.0
# One is some 2 KB and its metadata. Past so many, those that came first are let go of.
MAX_SESSIONS = 50_000


class KeeperLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]: ...

    async def give_back(self, item: CountItem) -> Counted: ...

    async def close(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None: ...


class Keeper:
    """Of one gateway; `look` is to be called whenever it `is_due`.

    `heed` is to have all tallies of this gateway doubted if the ledger's server has become another
    one since the last call, and to say whether it has.
    """

    def __init__(
        self,
        ledger: KeeperLedger,
        opener: Opener,
        heed: Callable[[], bool],
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._opener = opener
        self._heed = heed
        self._keep_seconds = keep_seconds
        self._kept: dict[str, Kept] = {}  # those that came first come first
        self._ended: set[str] = set()
        self._looking = False
        self._looked_at = float("-inf")

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._kept

    @property
    def ended(self) -> int:
        """How many of them have ended."""
        return len(self._ended)

    def seconds(self) -> int:
        """How many seconds are kept."""
        return sum(len(kept.tally.undurable) for kept in self._kept.values())

    def keep(
        self,
        request: OpenRequest,
        state: SessionState,
        tally: Tally,
        now: float,
        end: EndReason | None = None,
    ) -> Kept | None:
        """Keep what is not durable of this session, which ended so, or goes on without this
        connection. None where nothing is to be kept."""
        session_id = request.key.session_id
        before = self._kept.get(session_id)
        if before is not None and before.tally is tally:
            return before  # it ended, and now its connection is gone
        if not tally.undurable:
            return None
        if before is not None:
            tally.undurable.merge(before.tally.undurable)
            tally.doubted = tally.doubted or before.tally.doubted
            end = end or before.end
            self._let_go(before)
        elif len(self._kept) >= MAX_SESSIONS:
            self._let_go(next(iter(self._kept.values())))
        kept = self._kept[session_id] = Kept(request, state, tally, now, end)
        if end is not None:
            self._ended.add(session_id)
        return kept

    def find(self, session_id: str) -> SessionState | None:
        """How a session that is kept was, when this gateway had it."""
        kept = self._kept.get(session_id)
        return kept.state if kept is not None else None

    def give(self, session_id: str) -> Kept | None:
        """What was kept of this session, and no longer is: another connection speaks for it."""
        kept = self._kept.get(session_id)
        if kept is not None:
            self._let_go(kept)
        return kept

    def doubt(self) -> None:
        """The ledger's server is another one: nothing is durable because it says so, before it
        got back what the former one counted."""
        for kept in self._kept.values():
            kept.tally.doubt()

    def prune(self, now: float) -> None:
        """Let go of what was kept long enough; where the ledger is known to lack it, of what can't
        be counted any more."""
        for kept in list(self._kept.values()):
            kept_seconds = now - kept.since
            if kept_seconds < self._keep_seconds:
                return
            if kept.tally.doubted and kept_seconds < MOST_KEEP_SECONDS:
                continue
            seconds, session_id = len(kept.tally.undurable), kept.key.session_id
            logger.warning("%d seconds of session %s are left to the ledger", seconds, session_id)
            self._let_go(kept)

    def is_due(self, now: float) -> bool:
        """Whether to `look` again."""
        if not self._kept or self._looking:
            return False
        pause_seconds = HURRIED_SECONDS if self._ended else LOOK_SECONDS
        return now - self._looked_at >= max(pause_seconds, len(self._kept) / LOOKS_A_SECOND)

    async def look(self, now: float) -> None:
        """Let go of what is durable, and give back what the ledger has lost."""
        self._looking, self._looked_at = True, now
        try:
            await self._look(now)
        except (LedgerUnavailable, StorageUnavailable) as error:
            logger.warning("what %d sessions left is kept on: %s", len(self._kept), error)
        finally:
            self._looking = False

    async def _look(self, now: float) -> None:
        waiting = iter([kept for kept in self._kept.values() if kept.try_at <= now])
        while batch := list(islice(waiting, BATCH)):
            found = await self._ledger.recall([kept.key for kept in batch])
            self._heed()
            missed = []
            for kept, state in zip(batch, found, strict=True):
                match verdict(kept, state):
                    case Verdict.DURABLE:
                        self._is_durable(kept)
                    case Verdict.LET_GO:
                        self._let_go(kept)
                    case Verdict.GIVE_BACK:
                        missed.append((kept, state))
            await self._give_back_all(missed, now)

    async def _give_back_all(
        self, missed: Iterable[tuple[Kept, SessionState | None]], now: float
    ) -> None:
        """Several at a time: until then this process alone may have them. One's failure is not
        another's."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def give_back(kept: Kept, found: SessionState | None) -> None:
            async with slots, self._opener.turn(kept.key.session_id):
                if not self._has(kept):
                    return  # its recorder is back
                try:
                    await self._give_back(kept, found, now)
                except (LedgerUnavailable, StorageUnavailable):
                    raise
                except Exception:
                    kept.wait(now)
                    logger.exception("a session's last seconds can't be given back now")

        tasks = [give_back(kept, found) for kept, found in missed]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _give_back(self, kept: Kept, found: SessionState | None, now: float) -> None:
        # One that goes on stays with who speaks for it, and one that has ended for good stays so.
        is_lost = found is None or found.end_reason == EndReason.LOST
        if is_lost and not await self._open(kept, now):
            return
        if not is_lost and found is not None and found.ended_at is not None:
            kept.cut_off(found.ended_at)
        ranges = kept.tally.undurable.ranges()
        reply = await self._ledger.give_back(CountItem(kept.key, ranges, kept.state.origin))
        if self._heed():
            return  # it isn't known which server has them
        if reply.status is not CountStatus.COUNTED:
            await self._cure(kept, reply.status, now)
            return
        if reply.new:
            logger.warning(
                "%d seconds of session %s are given back: the ledger lacked them",
                reply.new,
                kept.key.session_id,
            )
        if not kept.given_back(reply, self._opener.moment()):
            kept.wait(now)
        elif kept.end is not None:
            await self._end(kept, reply)

    async def _open(self, kept: Kept, now: float) -> bool:
        """Whether it can be given to a session that the ledger doesn't have, or has as lost."""
        try:
            answer = await self._opener.reopen(kept.request, kept.state)
        except ClockInDoubt:
            return True  # as below
        if answer.session is not None and answer.session.origin == kept.state.origin:
            return True
        if answer.session is not None:
            self._let_go(kept)  # it began anew: its numbers are other moments'
        elif answer.status in (OpenStatus.LIMIT_REACHED, OpenStatus.TOO_MANY_SESSIONS):
            kept.wait(now)  # the ledger's figures may be put right, sessions end
        elif await self._opener.restore_ended(kept.key, kept.state.origin, kept.tally.undurable):
            return True  # as an ended one it takes what was before its end
        else:
            self._is_durable(kept)
        return False

    async def _cure(self, kept: Kept, status: CountStatus, now: float) -> None:
        if status in (CountStatus.ACCOUNT_COLD, CountStatus.MEMBER_COLD):
            with_live = status is CountStatus.ACCOUNT_COLD
            await self._opener.seed(kept.request, with_live=with_live)
        else:
            kept.wait(now)

    async def _end(self, kept: Kept, reply: Counted) -> None:
        """It ended before: unless a newer connection speaks for it, it does so again."""
        assert kept.end is not None
        if reply.owner <= kept.request.owner:
            await self._ledger.close(kept.key, kept.end, reply.seconds)
        else:
            kept.end = None
            self._ended.discard(kept.key.session_id)
            kept.released.set()

    def _has(self, kept: Kept) -> bool:
        return self._kept.get(kept.key.session_id) is kept

    def _is_durable(self, kept: Kept) -> None:
        kept.tally.undurable.clear()
        self._let_go(kept)

    def _let_go(self, kept: Kept) -> None:
        if self._has(kept):
            del self._kept[kept.key.session_id]
            self._ended.discard(kept.key.session_id)
        kept.released.set()
