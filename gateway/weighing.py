"""What an account's standing asks for besides what the session that was counted is told: alerts, a
look of its other sessions, and that the ledger remembers what was warned of."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

from gateway.alerter import Alerter
from gateway.roster import Roster
from gateway.session import LOOK_SECONDS, RecorderSession
from meter.ledger.types import LedgerUnavailable, SessionKey, Standing
from meter.thresholds import Told
from meter.usage import is_exhausted


class WeighingLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def note_told(self, told: list[tuple[SessionKey, str]]) -> None: ...


class Weighing:
    """Of one gateway. `spawn` runs something in the background."""

    def __init__(
        self,
        ledger: WeighingLedger,
        alerter: Alerter,
        roster: Roster,
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._ledger = ledger
        self._alerter = alerter
        self._roster = roster
        self._spawn = spawn
        self._told: dict[RecorderSession, None] = {}
        self._spread_at: dict[str, float] = {}

    def weigh(self, session: RecorderSession, standing: Standing, told: Told, now: float) -> None:
        """After a count of a session whose account is limited, and that `told` was told before."""
        if session.tally.told is not told and session.tally.told.thresholds:
            self._told[session] = None
        identity = session.identity
        assert identity is not None
        if self._alerter.notice(identity.organization_id, identity.user_id, standing):
            self._spawn(self._alerter.note())
        if is_exhausted(standing):
            self._spread(session.key.organization_id, now)

    def counted(self) -> None:
        """A batch is through: have noted what its sessions were told."""
        if self._told:
            self._spawn(self._note_told())

    def tick(self, now: float) -> None:
        """Now and then: forget what is long ago."""
        for organization_id, at in list(self._spread_at.items()):
            if now - at >= LOOK_SECONDS:
                del self._spread_at[organization_id]

    def _spread(self, organization_id: str, now: float) -> None:
        """An account is at its limit: its other sessions here look now, and not with their next
        heartbeat. Once is enough until they would look by themselves."""
        if now - self._spread_at.get(organization_id, float("-inf")) < LOOK_SECONDS:
            return
        self._spread_at[organization_id] = now
        for speaker in self._roster.speakers():
            if speaker.session.key.organization_id == organization_id:
                speaker.session.look()
                speaker.perform()

    async def _note_told(self) -> None:
        """So that another gateway doesn't repeat it. If it can't be noted, one may be repeated."""
        told = [(each.key, each.tally.told.text) for each in self._told]
        self._told.clear()
        with suppress(LedgerUnavailable):
            await self._ledger.note_told(told)
