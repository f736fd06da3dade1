"""Audits: every kept figure, and the ledger's, against what the rows of `usage_tracking` say.

The rows are the bill; all else is derived from them, and can be made anew from them.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from meter.ledger.auditing import AuditedLedger, LedgerAccount, LedgerAudit, LedgerFigures
from meter.periods import Period, month_of
from persistence.database import Connection, Database
from persistence.statements import statement

logger = logging.getLogger(__name__)

# A ledger's figure moves while it is compared; one that is really off is so again and again.
LOOKS = 3
LOOK_APART_SECONDS = 1.0

# Organization, user, period: whose figure it is.
Place = tuple[str, str | None, str]

# Seconds that each member of an organization has in a period.
Source = Callable[[Connection, str, Period], Awaitable[Counter[str]]]

EVER = Period(-(2**31), 2**33)


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure that differs from what it is derived from: which, whose (`user_id` None: the
    organization's), where in it, what is kept and what the rows say, in seconds."""

    figure: str
    organization_id: str
    user_id: str | None
    place: str
    kept: int
    counted: int

    @property
    def seconds(self) -> int:
        """How far it is off."""
        return self.kept - self.counted


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


async def audit_ledger(
    database: Database,
    ledger: LedgerAudit,
    organizations: Sequence[str],
    *,
    by_rows: bool = True,
) -> list[Drift]:
    """Compare the ledger's figures of these organizations, in the periods that it has.

    Each should be what the rows say and, of its sessions, what is counted and not in them yet.
    Without `by_rows` the figures that Postgres keeps stand for its rows, which costs little.
    Raises `StorageUnavailable` and `LedgerUnavailable`.
    """
    source = _counted if by_rows else _kept
    steady: dict[Place, Drift] = {}
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_APART_SECONDS)
        asked = organizations if look == 0 else {drift.organization_id for drift in steady.values()}
        found = await _look(database, ledger, asked, source)
        # While sessions record, both sides move; what is really off stays off by as much.
        steady = {
            place: drift
            for place, drift in found.items()
            if look == 0 or (place in steady and steady[place].seconds == drift.seconds)
        }
        if not steady:
            break
    return list(steady.values())


async def _look(
    database: Database, ledger: LedgerAudit, organizations: Iterable[str], source: Source
) -> dict[Place, Drift]:
    found: dict[Place, Drift] = {}
    for organization_id in organizations:
        account = await ledger.account(organization_id)
        if account is not None:
            for drift in await _compare(database, account, source):
                found[drift.organization_id, drift.user_id, drift.place] = drift
    return found


async def repair_ledger(
    database: Database,
    ledger: LedgerAudit,
    organizations: Sequence[str],
    *,
    by_rows: bool = True,
) -> list[Drift]:
    """Put right what `audit_ledger` finds, and give it. One at a time does this, as two would move
    a figure twice; nothing is done while another is at it.

    Without `by_rows` what is found is looked at by its rows before anything is moved, as it may be
    Postgres' own figure that is off. It takes a second connection.

    Raises `StorageUnavailable` and `LedgerUnavailable`.
    """
    async with database.connection() as connection, connection.transaction():
        if not await connection.fetchval(statement("claim_ledger_repair")):
            return []
        drifts = await audit_ledger(database, ledger, organizations, by_rows=by_rows)
        if drifts and not by_rows:
            drifts = await _confirmed(database, ledger, drifts)
        await _correct(ledger, drifts)
    return drifts


async def _confirmed(
    database: Database, ledger: LedgerAudit, drifts: Sequence[Drift]
) -> list[Drift]:
    """Those that the rows have, too; by another number they are in motion, and wait."""
    suspects = {drift.organization_id for drift in drifts}
    by_rows = await _look(database, ledger, suspects, _counted)
    confirmed = []
    for drift in drifts:
        found = by_rows.get((drift.organization_id, drift.user_id, drift.place))
        if found is None:
            logger.error(
                "what Postgres keeps of %r isn't what its rows say: run `meter audit --repair`",
                drift.organization_id,
            )
        elif found.seconds == drift.seconds:
            confirmed.append(found)
    return confirmed


async def _correct(ledger: LedgerAudit, drifts: Sequence[Drift]) -> None:
    moves: dict[tuple[str, str], dict[str | None, int]] = {}
    for drift in drifts:
        figures = moves.setdefault((drift.organization_id, drift.place), {})
        figures[drift.user_id] = -drift.seconds
    for (organization_id, place), seconds in moves.items():
        period = Period(*map(int, place.split("-")))
        await ledger.correct(organization_id, period, seconds)


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
    database: Database, ledger: AuditedLedger, span: Period, *, repair: bool
) -> Report:
    """Compare all, and with `repair` put right what differs.

    Raises `StorageUnavailable` and `LedgerUnavailable`.
    """
    audited = LedgerAudit(ledger)
    rows = await audit_rows(database, span)
    repaired = await repair_rows(database, span) if repair and rows else 0
    organizations = await audited.organizations()
    look = repair_ledger if repair else audit_ledger
    live = await look(database, audited, organizations)
    repaired += len(live) if repair else 0
    set_aside = await find_set_aside(database, audited)
    return Report((*rows, *live), len(organizations), set_aside, repaired)


async def _compare(database: Database, account: LedgerAccount, source: Source) -> list[Drift]:
    keys = [(each.session_id, row.minute) for each in account.pending for row in each.minutes]
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        masks = await _masks(connection, keys)
        drifts: list[Drift] = []
        for figures in account.figures:
            counted = await source(connection, account.organization_id, figures.period)
            for session in account.pending:
                for row in session.minutes:
                    if row.minute * 60 in figures.period:
                        known = masks.get((session.session_id, row.minute), 0)
                        counted[session.user_id] += (row.mask & ~known).bit_count()
            drifts += _differences(account.organization_id, figures, counted)
    return drifts


def _differences(
    organization_id: str, figures: LedgerFigures, counted: Counter[str]
) -> list[Drift]:
    expected: list[tuple[str | None, int, int]] = [
        (user_id, kept, counted[user_id]) for user_id, kept in figures.members.items()
    ]
    if figures.organization is not None:
        expected.append((None, figures.organization, counted.total()))
    place = f"{figures.period.start}-{figures.period.end}"
    return [
        Drift("ledger", organization_id, user_id, place, kept, rows)
        for user_id, kept, rows in expected
        if kept != rows
    ]


async def _masks(
    connection: Connection, keys: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    rows = await connection.fetch(
        statement("load_masks"),
        [UUID(session_id) for session_id, _ in keys],
        [minute for _, minute in keys],
    )
    return {(row["session_id"], row["minute"]): row["seconds_mask"] for row in rows}


async def _counted(connection: Connection, organization_id: str, period: Period) -> Counter[str]:
    rows = await connection.fetch(
        statement("load_counted_between"),
        organization_id,
        _moment(period.start),
        _moment(period.end),
    )
    return Counter({row["user_id"]: row["seconds"] for row in rows})


async def _kept(connection: Connection, organization_id: str, period: Period) -> Counter[str]:
    is_month = period == month_of(period.start)
    start = _moment(period.start)
    rows = await connection.fetch(
        statement("load_kept_between"),
        organization_id,
        start.date() if is_month else None,
        None if is_month else start,
    )
    return Counter({row["user_id"]: row["seconds"] for row in rows})


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
