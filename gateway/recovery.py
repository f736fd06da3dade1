"""Sessions that the ledger can't count now: what cures that is done, again and again if need be,
and until then nothing of them is asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Protocol

from gateway.opener import Opener
from gateway.session import RecorderSession
from meter.codes import EndReason
from meter.ledger.types import (
    Counted,
    CountStatus,
    LedgerUnavailable,
    SessionState,
    StorageUnavailable,
)

logger = logging.getLogger(__name__)

AT_ONCE = 6
RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 5.0


class Speaker(Protocol):
    """A connection as the counter sees it: its session, and what does the session's actions."""

    session: RecorderSession

    @property
    def connected(self) -> bool: ...

    def perform(self) -> None: ...


def is_curable(speaker: Speaker, reply: Counted) -> bool:
    """Whether something can be done so that the session's seconds are counted after all."""
    if speaker.session.finished:
        return False
    if reply.status is not CountStatus.ENDED:
        return True
    # After an outage the sweep may be quicker than the first heartbeat.
    lost = reply.end_reason == EndReason.LOST
    return lost and (speaker.connected or speaker.session.tally.waiting)


class Recovery:
    """Of one gateway. `spawn` runs something in the background; `recovered` is told of those whose
    turn it is again."""

    def __init__(
        self,
        opener: Opener,
        spawn: Callable[[Coroutine[None, None, None]], None],
        recovered: Callable[[Speaker], None],
    ) -> None:
        self._opener = opener
        self._spawn = spawn
        self._recovered = recovered
        self._recovering: set[Speaker] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def __contains__(self, speaker: Speaker) -> bool:
        return speaker in self._recovering

    def __len__(self) -> int:
        return len(self._recovering)

    def cure(self, speaker: Speaker, status: CountStatus) -> None:
        """Do what the ledger's answer asks for."""
        self._begin(speaker, lambda: self._cure(speaker.session, status))

    def verify(self, speaker: Speaker) -> None:
        """The ledger had lost seconds of a session: see that it still is the same one, before it
        gets them back."""
        self._begin(speaker, lambda: self._verify(speaker.session))

    def rest(self, speaker: Speaker) -> None:
        """Let a session wait whose count fails for no known reason."""
        self._begin(speaker, lambda: asyncio.sleep(MAX_RETRY_SECONDS))

    async def _cure(self, session: RecorderSession, status: CountStatus) -> None:
        assert session.request is not None
        async with self._slots:
            if status in (CountStatus.ACCOUNT_COLD, CountStatus.MEMBER_COLD):
                with_live = status is CountStatus.ACCOUNT_COLD
                await self._opener.seed(session.request, with_live=with_live)
                return
            owner = await self._opener.owner(session.key)  # to reopen it takes it from them
            answer = await self._opener.reopen(session.request, session.state)
        if answer.session is None:
            session.not_reopened(answer.status)
        else:
            _compare(session, answer.session, owner)

    async def _verify(self, session: RecorderSession) -> None:
        async with self._slots:
            owner = await self._opener.owner(session.key)
            found = await self._opener.find(session.key)
        if found is not None:
            _compare(session, found, owner)

    def _begin(self, speaker: Speaker, act: Callable[[], Awaitable[None]]) -> None:
        self._recovering.add(speaker)
        self._spawn(self._go_through(speaker, act))

    async def _go_through(self, speaker: Speaker, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await _insist(act)
        except Exception:
            logger.exception("a session could not be recovered")
            await asyncio.sleep(MAX_RETRY_SECONDS)
        finally:
            self._recovering.discard(speaker)
        self._recovered(speaker)


def _compare(session: RecorderSession, found: SessionState, owner: int) -> None:
    assert session.state is not None
    if found.origin != session.state.origin:
        session.began_anew(is_others=owner > session.owner)


async def _insist(act: Callable[[], Awaitable[None]]) -> None:
    for delay in _delays():
        try:
            return await act()
        except (LedgerUnavailable, StorageUnavailable) as error:
            logger.warning("trying again in %.1f s: %s", delay, error)
            await asyncio.sleep(delay)
    raise AssertionError("delays are endless")


def _delays() -> Iterator[float]:
    delay = RETRY_SECONDS
    while True:
        yield delay
        delay = min(delay * 2, MAX_RETRY_SECONDS)
