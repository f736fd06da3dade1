"""Keeps the last seconds of ended sessions until they are durable.

Their clients are gone, and for a second or two only the ledger has those seconds. If it comes back
empty just then, they are given back from here, and the session ends once more.
"""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from gateway.opener import NOBODY, Opener
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
from meter.seconds import SecondSet

logger = logging.getLogger(__name__)

# Some wait for it. With many, which are those of an outage, a while more.
LOOK_SECONDS = 0.25
LOOKS_A_SECOND = 4000
BATCH = 1000
AT_ONCE = 8
# Past this the ledger has let go of an ended session, durable or set aside.
KEEP_SECONDS = 900.0
# An outage of Postgres may last; what is kept here stays bounded.
MAX_SESSIONS = 50_000


class AftercareLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def count(self, items: list[CountItem]) -> list[Counted]: ...

    async def close(self, key: SessionKey, reason: EndReason) -> SessionState | None: ...


@dataclass(slots=True)
class Patient:
    """An ended session with seconds that were not durable when it ended. `durable` is set once they
    are, or never will be."""

    request: OpenRequest
    state: SessionState
    reason: EndReason
    seconds: SecondSet
    since: float
    durable: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> SessionKey:
        return self.request.key

    @property
    def last_second(self) -> int:
        """The last one that wasn't durable at the end."""
        return self.seconds.highest()


class Aftercare:
    """One a gateway; `look` is to be called whenever it `is_due`."""

    def __init__(self, ledger: AftercareLedger, opener: Opener) -> None:
        self._ledger = ledger
        self._opener = opener
        self._kept: dict[str, Patient] = {}
        self._looking = False
        self._looked_at = float("-inf")

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._kept

    def seconds(self) -> int:
        """How many seconds are kept."""
        return sum(len(patient.seconds) for patient in self._kept.values())

    def admit(self, patient: Patient) -> None:
        """Look after a session that has ended."""
        if len(self._kept) >= MAX_SESSIONS:
            self._discharge(next(iter(self._kept.values())))
        self._kept[patient.key.session_id] = patient

    def is_due(self, now: float) -> bool:
        """Whether to `look` again."""
        if not self._kept or self._looking:
            return False
        return now - self._looked_at >= max(LOOK_SECONDS, len(self._kept) / LOOKS_A_SECOND)

    async def look(self, now: float) -> None:
        """Let go of what is durable, and give back what the ledger has lost."""
        self._looking, self._looked_at = True, now
        try:
            await self._look(now)
        except (LedgerUnavailable, StorageUnavailable) as error:
            logger.warning("%d ended sessions are kept on: %s", len(self._kept), error)
        finally:
            self._looking = False

    async def _look(self, now: float) -> None:
        waiting = iter(list(self._kept.values()))
        while batch := list(islice(waiting, BATCH)):
            replies = await self._ledger.count([CountItem(each.key, ()) for each in batch])
            missed = []
            for patient, reply in zip(batch, replies, strict=True):
                if _is_well(patient, reply, now):
                    self._discharge(patient)
                elif _is_missed(patient, reply):
                    missed.append(patient)
            await self._give_back_all(missed)

    def _discharge(self, patient: Patient) -> None:
        patient.durable.set()
        self._kept.pop(patient.key.session_id, None)

    async def _give_back_all(self, patients: list[Patient]) -> None:
        """Several at a time: until then this process alone may have them. One's failure is not
        another's."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def give_back(patient: Patient) -> None:
            async with slots:
                await self._give_back(patient)

        for outcome in await asyncio.gather(*map(give_back, patients), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _give_back(self, patient: Patient) -> None:
        nobody = replace(patient.request, owner=NOBODY)
        answer = await self._opener.open(nobody, patient.state)
        if answer.session is None:
            # Postgres has its end, and with that all its seconds; or others have used the limit up.
            # While there are too many sessions, it waits.
            if answer.status is not OpenStatus.TOO_MANY_SESSIONS:
                self._discharge(patient)
            return
        logger.warning("an ended session's last seconds are counted again: the ledger lost them")
        (reply,) = await self._ledger.count([CountItem(patient.key, patient.seconds.ranges())])
        if reply.status is CountStatus.COUNTED:  # an end can't be undone, so it comes after that
            await self._ledger.close(patient.key, patient.reason)


def _is_well(patient: Patient, reply: Counted, now: float) -> bool:
    if now - patient.since > KEEP_SECONDS:
        return True
    if reply.status is CountStatus.COUNTED:  # it goes on: with somebody who has its seconds?
        return reply.owner not in (NOBODY, patient.request.owner)
    return reply.status is CountStatus.ENDED and reply.durable_through >= patient.last_second


def _is_missed(patient: Patient, reply: Counted) -> bool:
    """Whether the ledger came back without its end: without all of it, or as a replica that was
    behind has it, or with what Postgres had. That goes on as live, and may be lost by now."""
    if reply.status is CountStatus.ENDED:
        return reply.end_reason == EndReason.LOST and reply.highest < patient.last_second
    return True
