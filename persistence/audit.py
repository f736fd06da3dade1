"""Audits: every kept figure, and the ledger's, against what the rows of `usage_tracking` say, and
counts of features against `feature_events`.

The rows are the bill; all else is derived from them, and can be made anew from them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from meter.ledger.auditing import AuditedLedger, LedgerAudit
from meter.periods import Period
from persistence.database import Database
from persistence.drift import Drift
from persistence.ledger_audit import Comparison, audit_ledger, repair_ledger
from persistence.statements import statement

EVER = Period(-(2**31), 2**33)

# How long a repair waits for another one to end, and how often it says so.
PATIENCE_SECONDS = 30.0
TRY_SECONDS = 0.25
SAY_SECONDS = 5.0


class RepairUnderWay(Exception):
    """Another process puts the ledger's figures right, and was still at it in the end."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Sessions whose rows Postgres refused, and the seconds of theirs that are in no row for that:
    counted, in the ledger alone, and tried again."""

    sessions: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `accounts` is how many of the ledger's were compared; `repaired` how
    many figures were put right. What is set aside is no drift: the ledger's figures hold it."""

    drifts: tuple[Drift, ...]
    accounts: int
    set_aside: SetAside
    repaired: int = 0


async def audit_rows(database: Database, span: Period) -> list[Drift]:
    """Compare what Postgres keeps. Raises `StorageUnavailable`."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            statement("audit_figures"), _moment(span.start), _moment(span.end)
        )
    return [Drift(**row) for row in rows]


async def repair_rows(database: Database, span: Period) -> int:
    """Put right what `audit_rows` finds; how many figures. Raises `StorageUnavailable`."""
    async with database.connection() as connection, connection.transaction():
        repaired: int = await connection.fetchval(
            statement("repair_figures"), _moment(span.start), _moment(span.end)
        )
    return repaired


async def find_set_aside(database: Database, ledger: LedgerAudit) -> SetAside:
    """What Postgres refused. Raises `StorageUnavailable` and `LedgerUnavailable`."""
    sessions = await ledger.set_aside()
    async with database.connection() as connection:
        rows = await connection.fetch(
            statement("load_durable_seconds"), [UUID(each.key.session_id) for each in sessions]
        )
    durable = {row["session_id"]: row["seconds"] for row in rows}
    missing = [max(each.seconds - durable.get(each.key.session_id, 0), 0) for each in sessions]
    return SetAside(len(sessions), sum(missing))


async def audit_all(
    database: Database,
    ledger: AuditedLedger,
    span: Period,
    *,
    repair: bool,
    waits: Callable[[float], None] = lambda _: None,
) -> Report:
    """Compare all of a time, and with `repair` put right what differs. Of the ledger's figures
    those of periods that overlap it.

    A repair waits while another one is at the ledger's figures; `waits` is told at times for how
    many seconds more. Raises `RepairUnderWay`, `StorageUnavailable` and `LedgerUnavailable`.
    """
    audited = LedgerAudit(ledger)
    rows = await audit_rows(database, span)
    repaired = await repair_rows(database, span) if repair and rows else 0
    organizations = await audited.organizations()
    if repair:
        live = await _repair_in_turn(database, audited, organizations, span, waits)
        repaired += len(live.drifts)
    else:
        live = await audit_ledger(database, audited, organizations, span=span)
    set_aside = await find_set_aside(database, audited)
    return Report((*rows, *live.drifts), live.accounts, set_aside, repaired)


async def _repair_in_turn(
    database: Database,
    ledger: LedgerAudit,
    organizations: Sequence[str],
    span: Period,
    waits: Callable[[float], None],
) -> Comparison:
    now = asyncio.get_running_loop().time
    give_up_at, say_at = now() + PATIENCE_SECONDS, now()
    while True:
        repaired = await repair_ledger(database, ledger, organizations, span=span)
        if repaired is not None:
            return repaired
        left = give_up_at - now()
        if left <= 0:
            raise RepairUnderWay
        if now() >= say_at:
            waits(left)
            say_at += SAY_SECONDS
        await asyncio.sleep(TRY_SECONDS)


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
