"""A session that no connection here speaks for any more, and what its ledger's state says of its
last seconds. Pure, but for what waits to be told."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.tally import APART_SECONDS, Tally, split_last
from meter.codes import EndReason
from meter.ledger.types import Counted, OpenRequest, SessionKey, SessionState

FIRST_WAIT_SECONDS = 0.5
MOST_WAIT_SECONDS = 30.0


@dataclass(slots=True)
class Kept:
    """A session, how it was when this gateway had it, what it counted, and since when it has ended
    (`end`), or its connection is gone (None). `released` is set once it is kept no longer."""

    request: OpenRequest
    state: SessionState
    tally: Tally
    since: float
    end: EndReason | None = None
    try_at: float = 0.0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _waits: int = 0

    @property
    def key(self) -> SessionKey:
        return self.request.key

    def wait(self, now: float) -> None:
        """It can't be given back now; each time that is so, it waits longer."""
        self.try_at = now + min(FIRST_WAIT_SECONDS * 2**self._waits, MOST_WAIT_SECONDS)
        self._waits = min(self._waits + 1, 10)

    def cut_off(self, ended_at: int) -> None:
        """It has ended for good, and what was a little early then isn't counted any more. (What is
        much later than its end came before it in truth: the ledger's clock was behind.)"""
        last = ended_at - self.state.origin
        if 0 < self.tally.undurable.highest() - last <= APART_SECONDS:
            self.tally.undurable.discard_from(last + 1)

    def given_back(self, reply: Counted, moment: int) -> bool:
        """The ledger's answer to all of its seconds, at that epoch second by this machine's clock.
        What it refuses isn't given again, but for what is early to it, as its clock was set back.
        Whether that's all."""
        tally, early = self.tally, reply.in_future
        tally.seconds = reply.seconds
        if early:
            _, refused = split_last(tally.undurable.ranges(), early)
            early -= tally.forget_coming(refused[0][0], moment - self.state.origin)
        tally.doubted = early > 0
        if not tally.doubted:
            tally.undurable.discard_from(reply.highest + 1)
        return not tally.doubted


class Verdict(Enum):
    """What to do with one."""

    KEEP = auto()
    DURABLE = auto()
    LET_GO = auto()
    GIVE_BACK = auto()


def verdict(kept: Kept, found: SessionState | None) -> Verdict:
    """What the ledger's present state of a session says."""
    if found is None:
        return Verdict.GIVE_BACK
    if (found.key, found.origin) != (kept.key, kept.state.origin):
        return Verdict.LET_GO  # its numbers are other moments'
    goes_on = found.ended_at is None or found.end_reason == EndReason.LOST
    if (goes_on and kept.end is not None) or kept.tally.has_lost(found.seconds):
        return Verdict.GIVE_BACK  # an end can't be undone, nor can a total fall, unless it was lost
    is_durable = found.durable_through >= kept.tally.undurable.highest()
    return Verdict.DURABLE if is_durable else Verdict.KEEP
