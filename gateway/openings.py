"""Opens sessions for connections, and hands each what was heard of it on another one."""

import asyncio
import logging
import time

from gateway.keeper import Keeper
from gateway.opener import Opener
from gateway.recovery import Speaker
from gateway.roster import Roster
from gateway.session import RecorderSession
from gateway.tally import Tally
from meter.ledger.types import (
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    SessionState,
    StorageUnavailable,
)

logger = logging.getLogger(__name__)

# With those that are ended, below the ledger's connections, so that no call waits for one until it
# times out.
OPENING_AT_ONCE = 12
# So many may wait for their turn: a second or two, well within a client's patience.
MOST_OPENING = 2000
LOOK_SECONDS = 0.25


class Openings:
    """Of one gateway. Who opens a session last speaks for it, here as in the ledger."""

    def __init__(
        self, opener: Opener, roster: Roster, keeper: Keeper, end_wait_seconds: float
    ) -> None:
        """`end_wait_seconds`: how long an end isn't told that isn't durable."""
        self._opener = opener
        self._roster = roster
        self._keeper = keeper
        self._end_wait_seconds = end_wait_seconds
        self._opening = 0
        self._slots = asyncio.Semaphore(OPENING_AT_ONCE)

    async def open(self, speaker: Speaker, request: OpenRequest) -> None:
        """Open a session for a connection, and let it speak for the session from then on. Where too
        many wait for that, the client is sent away, and comes back a little later."""
        if self._opening >= MOST_OPENING:
            speaker.session.overloaded()
        else:
            self._opening += 1
            try:
                await self._open(speaker, request)
            finally:
                self._opening -= 1
        speaker.perform()

    async def _open(self, speaker: Speaker, request: OpenRequest) -> None:
        """Of a session that has ended, its recorder lets go: so it is told that once Postgres has
        all of it, though not only then. Should the ledger lose it meanwhile, it goes on."""
        deadline = time.monotonic() + self._end_wait_seconds
        while True:
            is_late = time.monotonic() >= deadline
            if await self._open_in_turn(speaker, request, tell_any_end=is_late):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _open_in_turn(
        self, speaker: Speaker, request: OpenRequest, *, tell_any_end: bool
    ) -> bool:
        """Whether the client was answered, or left."""
        session, session_id = speaker.session, request.key.session_id
        async with self._opener.turn(session_id), self._slots:
            if not session.opening:
                return True  # the client left before its turn came
            try:
                answer = await self._opener.open(
                    request, self._known_state(session_id), session.claimed_origin
                )
                has_ended = answer.status is OpenStatus.ENDED and not tell_any_end
                if has_ended and not await self._opener.has_ended_durably(request.key):
                    return False
            except (LedgerUnavailable, StorageUnavailable) as error:
                logger.warning("a session could not be opened: %s", error)
                session.unavailable()
            except Exception:
                logger.exception("a session could not be opened")
                session.unavailable()
            else:
                session.opened(answer, time.monotonic())
                if session.state is not None:
                    self._take_over(speaker, session_id)
                elif answer.session is not None:
                    await self._opener.disown(request)  # the client left meanwhile
        return True

    def _known_state(self, session_id: str) -> SessionState | None:
        speaker = self._roster.find(session_id)
        return speaker.session.state if speaker is not None else self._keeper.find(session_id)

    def _take_over(self, speaker: Speaker, session_id: str) -> None:
        before = self._roster.find(session_id)
        if before is not None and before.session.owner > speaker.session.owner:
            speaker.session.superseded()  # its client gave it up before its turn came
            return
        self._roster.enter(session_id, speaker)
        kept = self._keeper.give(session_id)
        if kept is not None:
            _inherit(speaker.session, kept.state, kept.tally)
        if before is not None and before is not speaker:
            _inherit(speaker.session, before.session.state, before.session.tally)
            before.session.superseded()
            before.perform()


def _inherit(session: RecorderSession, state: SessionState | None, tally: Tally) -> None:
    """Take over what was heard on another connection, where the numbers are of the same moments."""
    assert session.state is not None
    if state is not None and state.origin == session.state.origin:
        session.inherit(tally)
    elif tally.waiting or tally.undurable:
        logger.warning("a session had to begin anew: what was not durable of it is gone")
