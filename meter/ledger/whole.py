"""Sessions whose seconds come as a number: counted whole, or not at all.

All raise `LedgerUnavailable`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from meter.codes import EndReason
from meter.ledger.calls import Argument
from meter.ledger.replies import session_state, text
from meter.ledger.types import Rules, SessionKey, SessionState


class RecordStatus(StrEnum):
    """What became of a session that was to be recorded."""

    RECORDED = "recorded"
    REFUSED = "refused"
    # The account's figures have to be seeded first, as in `CountStatus`.
    ACCOUNT_COLD = "account_cold"
    MEMBER_COLD = "member_cold"


@dataclass(frozen=True, slots=True)
class WholeSession:
    """A session of so many seconds, 1 or more, the last of which is just over."""

    key: SessionKey
    user_id: str
    kind: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """The answer to a `WholeSession`. `session` is set when it was recorded, now or before. When it
    was refused nothing was written, and the others say how many of its seconds are the reason: each
    has to have room in the period that it falls into."""

    status: RecordStatus
    session: SessionState | None = None
    too_late: int = 0
    over_limit: int = 0
    over_duration: int = 0


class RecordingLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    rules: Rules

    async def ask(
        self, function: str, organization_id: str, arguments: Sequence[Argument]
    ) -> Any: ...


async def record_whole(ledger: RecordingLedger, whole: WholeSession) -> Recorded:
    """Make the session, count all of its seconds and end it, or change nothing. One that is there
    already stays as it is."""
    arguments = _arguments(whole, ledger.rules)
    reply = await ledger.ask("record", whole.key.organization_id, arguments)
    status = RecordStatus(text(reply[0]))
    if status is RecordStatus.RECORDED:
        return Recorded(status, session_state(whole.key.session_id, reply[1]))
    return Recorded(status, None, *reply[1:])


def _arguments(whole: WholeSession, rules: Rules) -> list[Argument]:
    return [
        whole.key.session_id,
        whole.key.organization_id,
        whole.user_id,
        whole.kind,
        whole.seconds,
        EndReason.STOPPED.value,
        rules.late_seconds,
        rules.max_session_seconds,
        rules.flush_after_seconds,
    ]
