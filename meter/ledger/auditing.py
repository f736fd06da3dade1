"""What the ledger says of accounts, for an audit to compare with Postgres.

All raise `LedgerUnavailable`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, TypeVar

from meter.ledger.calls import Argument
from meter.ledger.keys import PARTITIONS, partition_of, prefix_of
from meter.ledger.replies import session_state, text
from meter.ledger.types import Minute, SessionState
from meter.periods import Period
from meter.seconds import minute_from_bitmap

AT_ONCE = 100

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """Seconds counted in a period: the organization's (None when cold), and those of the members
    that are known."""

    period: Period
    organization: int | None
    members: dict[str, int]


@dataclass(frozen=True, slots=True)
class PendingSession:
    """A session with counted seconds that are not known to be durable, by minute."""

    session_id: str
    user_id: str
    minutes: tuple[Minute, ...]


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """An organization as of one moment."""

    organization_id: str
    figures: tuple[LedgerFigures, ...]
    pending: tuple[PendingSession, ...]


class AuditedLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def ask_each(
        self, function: str, asked: Sequence[tuple[str, Sequence[Argument]]]
    ) -> list[Any]: ...

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[Argument]
    ) -> list[Any]: ...

    async def names(self, pattern: str) -> list[str]: ...

    async def fields(self, name: str) -> list[str]: ...

    async def incarnation(self) -> str: ...

    async def compared(self) -> str | None: ...

    async def note_compared(self, incarnation: str) -> None: ...


class LedgerAudit:
    """Of the ledger it is made with."""

    def __init__(self, ledger: AuditedLedger) -> None:
        self._ledger = ledger

    async def organizations(self) -> list[str]:
        """Those that the ledger knows, by partition."""
        names = {name.split(":c:", 1)[1] for name in await self._ledger.names("mm:{*:c:*")}
        return sorted(names, key=lambda name: (partition_of(name), name))

    async def incarnation(self) -> str:
        """Another text after the ledger may have lost something."""
        return await self._ledger.incarnation()

    async def compared(self) -> str | None:
        """The incarnation on which all figures were compared; None when it never was said, or the
        ledger lost all."""
        return await self._ledger.compared()

    async def note_compared(self, incarnation: str) -> None:
        """Let gateways count on this one."""
        await self._ledger.note_compared(incarnation)

    async def set_aside(self) -> list[SessionState]:
        """Sessions whose rows Postgres refused, and which are tried again."""
        found: list[SessionState] = []
        holding = set(await self._ledger.names("mm:{*:aside"))
        for partition in range(PARTITIONS):
            name = f"{prefix_of(partition)}:aside"
            for session_id in await self._ledger.fields(name) if name in holding else ():
                (reply,) = await self._ledger.survey("find", (partition,), (session_id,))
                if reply:
                    found.append(session_state(session_id, reply))
        return found

    async def account(self, organization_id: str) -> LedgerAccount | None:
        """An organization's figures; None when the ledger doesn't know it (any more)."""
        return (await self.accounts((organization_id,)))[0]

    async def accounts(self, organizations: Sequence[str]) -> list[LedgerAccount | None]:
        """As `account`, of several in order. Those of one partition, next to each other, cost
        little more than one, and are as of one moment."""
        calls = [
            group
            for _, members in groupby(organizations, partition_of)
            for group in _groups(list(members))
        ]
        found: list[LedgerAccount | None] = []
        for some in _groups(calls):
            replies = await self._ledger.ask_each(
                "pending_each", [(call[0], call) for call in some]
            )
            found += [
                _account(name, *reply) if reply else None
                for call, answer in zip(some, replies, strict=True)
                for name, reply in zip(call, answer, strict=True)
            ]
        return found

    async def correct(
        self, organization_id: str, period: Period, seconds: Mapping[str | None, int]
    ) -> None:
        """Move figures of a period, by user (None: the organization's)."""
        await self.correct_all({(organization_id, period): seconds})

    async def correct_all(
        self, moves: Mapping[tuple[str, Period], Mapping[str | None, int]]
    ) -> None:
        """As `correct`, of several organizations and periods."""
        for group in _groups(list(moves.items())):
            await self._ledger.ask_each(
                "correct",
                [
                    (organization_id, _correction(organization_id, period, seconds))
                    for (organization_id, period), seconds in group
                ],
            )


def _groups(items: Sequence[Item]) -> list[Sequence[Item]]:
    """As many at a time as others don't wait for."""
    return [items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE)]


def _correction(
    organization_id: str, period: Period, seconds: Mapping[str | None, int]
) -> list[Argument]:
    arguments: list[Argument] = [organization_id, period.start]
    for user_id, moved in seconds.items():
        arguments += (user_id or "", moved)
    return arguments


def _account(organization_id: str, periods: Sequence[Any], *sessions: Any) -> LedgerAccount:
    return LedgerAccount(
        organization_id,
        tuple(_figures(*each) for each in periods),
        tuple(_session(*each) for each in sessions),
    )


def _figures(start: int, end: int, fields: Sequence[bytes]) -> LedgerFigures:
    values = {text(name): int(value) for name, value in zip(fields[::2], fields[1::2], strict=True)}
    members = {
        name.removeprefix("m|"): value for name, value in values.items() if name.startswith("m|")
    }
    return LedgerFigures(Period(start, end), values.get("o"), members)


def _session(
    session_id: bytes, user_id: bytes, origin: int, minutes: Sequence[Any]
) -> PendingSession:
    triples = zip(minutes[::3], minutes[1::3], minutes[2::3], strict=True)
    return PendingSession(
        text(session_id),
        text(user_id),
        tuple(
            Minute(minute, minute_from_bitmap(data, first, origin, minute))
            for minute, first, data in triples
        ),
    )
