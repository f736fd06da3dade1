"""The ledger's figures against Postgres', many accounts at a time; and repairs of what differs."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias
from uuid import UUID

from meter.ledger.auditing import LedgerAccount, LedgerAudit, LedgerFigures
from meter.ledger.keys import partition_of
from meter.periods import Period, month_of
from persistence.database import Connection, Database
from persistence.drift import Drift
from persistence.statements import statement

logger = logging.getLogger(__name__)

# A ledger's figure moves while it is compared; one that is really off is so by as much in several
# looks one after another.
LOOKS = 3
MOST_LOOKS = 6
LOOK_APART_SECONDS = 0.5

# Accounts that are compared at once. Rows are many: those of a big account are read alone, as a
# statement has its time.
KEPT_ACCOUNTS = 200
ROWS_ACCOUNTS = 20
BIG_SECONDS = 1_000_000

# Organization, user, period: whose figure it is.
Place: TypeAlias = tuple[str, str | None, str]

# Seconds that each member of an organization has in a period, of several of both.
Source: TypeAlias = Callable[
    [Connection, Sequence[tuple[str, Period]]], Awaitable[list[Counter[str]]]
]

# Called before each of an audit's steps.
Step: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of how many accounts figures were compared, which are off, and whose moved too much in that
    time to say (they are to be looked at again)."""

    accounts: int
    drifts: tuple[Drift, ...]
    unsettled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Looks:
    """How accounts are looked at: where, in which periods, and what is done before each step."""

    database: Database
    ledger: LedgerAudit
    span: Period | None
    step: Step


async def audit_ledger(
    database: Database,
    ledger: LedgerAudit,
    organizations: Sequence[str],
    *,
    by_rows: bool = True,
    span: Period | None = None,
) -> Comparison:
    """Compare the ledger's figures of these organizations, in the periods that it has, or of those
    that overlap `span`.

    Each should be what the rows say and, of its sessions, what is counted and not in them yet.
    Without `by_rows` the figures that Postgres keeps stand for its rows, which costs little.
    Raises `StorageUnavailable` and `LedgerUnavailable`.
    """
    looks = _Looks(database, ledger, span, _nothing)
    return await _steady(looks, organizations, _counted if by_rows else _kept)


async def repair_ledger(
    database: Database,
    ledger: LedgerAudit,
    organizations: Sequence[str],
    *,
    by_rows: bool = True,
    span: Period | None = None,
) -> Comparison | None:
    """Put right what `audit_ledger` finds, and give it. One at a time does this, as two would move
    a figure twice: None, and nothing was compared, while another is at it.

    Without `by_rows` what is found is looked at by its rows before anything is moved, as it may be
    Postgres' own figure that is off. It takes a second connection.

    Raises `StorageUnavailable` and `LedgerUnavailable`.
    """
    async with _turn(database) as step:
        if step is None:
            return None
        looks = _Looks(database, ledger, span, step)
        found = await _steady(looks, organizations, _counted if by_rows else _kept)
        if found.drifts and not by_rows:
            found = await _confirmed(looks, found)
        await step()  # it is still this one's turn
        await ledger.correct_all(_moves(found.drifts))
    return found


@asynccontextmanager
async def _turn(database: Database) -> AsyncIterator[Step | None]:
    """The right to repair while the block lasts, as what to call before each step; None while
    another has it. Who has it and does nothing for long loses it: the step says that it goes on."""
    async with database.connection() as connection, connection.transaction():
        if not await connection.fetchval(statement("claim_ledger_repair")):
            yield None
            return

        async def step() -> None:
            await connection.fetchval(statement("claim_ledger_repair"))

        yield step


async def _nothing() -> None:
    """No claim to keep."""


async def _steady(looks: _Looks, organizations: Sequence[str], source: Source) -> Comparison:
    """What is off by as much in each of several looks."""
    now = asyncio.get_running_loop().time
    looked_at = now()
    accounts, found = await _look(looks, organizations, source)
    seen = {place: (drift, 1) for place, drift in found.items()}
    for _ in range(MOST_LOOKS - 1):
        if all(times >= LOOKS for _, times in seen.values()):
            break
        await asyncio.sleep(looked_at + LOOK_APART_SECONDS - now())
        looked_at = now()
        _, found = await _look(looks, {place[0] for place in seen}, source)
        # While sessions record, both sides move; what was right once is right.
        seen = {
            place: (found[place], times + 1 if found[place].seconds == drift.seconds else 1)
            for place, (drift, times) in seen.items()
            if place in found
        }
    return Comparison(
        accounts,
        tuple(drift for drift, times in seen.values() if times >= LOOKS),
        frozenset(place[0] for place, (_, times) in seen.items() if times < LOOKS),
    )


async def _confirmed(looks: _Looks, found: Comparison) -> Comparison:
    """As the rows have it. Where those say another thing than what Postgres keeps, they are right,
    and are looked at until they are steady, too."""
    big = {each.organization_id for each in found.drifts if each.counted >= BIG_SECONDS}
    suspects = {each.organization_id for each in found.drifts}
    _, by_rows = await _look(looks, suspects, _counted, big)
    confirmed, disputed, corrupt = [], set(), set()
    for drift in found.drifts:
        row = by_rows.get((drift.organization_id, drift.user_id, drift.place))
        if row is None:
            corrupt.add(drift.organization_id)
        elif row.seconds == drift.seconds:
            confirmed.append(row)
        else:
            disputed.add(drift.organization_id)
    for organization_id in sorted(corrupt):
        logger.error(
            "what Postgres keeps of %r isn't what its rows say: run `meter audit --repair`",
            organization_id,
        )
    settled = await _steady(looks, sorted(disputed), _counted)
    confirmed = [each for each in confirmed if each.organization_id not in disputed]
    return Comparison(
        found.accounts, (*confirmed, *settled.drifts), found.unsettled | settled.unsettled
    )


def _moves(drifts: Iterable[Drift]) -> dict[tuple[str, Period], dict[str | None, int]]:
    moves: dict[tuple[str, Period], dict[str | None, int]] = {}
    for drift in drifts:
        period = Period(*map(int, drift.place.split("-")))
        figures = moves.setdefault((drift.organization_id, period), {})
        figures[drift.user_id] = -drift.seconds
    return moves


async def _look(
    looks: _Looks, organizations: Collection[str], source: Source, alone: Collection[str] = ()
) -> tuple[int, dict[Place, Drift]]:
    """How many accounts there are to compare, and what differs in one look at them."""
    size = KEPT_ACCOUNTS if source is _kept else ROWS_ACCOUNTS
    # By partition, as the ledger goes through one's sessions for all that it is asked for at once.
    names = sorted(
        (name for name in organizations if name not in alone),
        key=lambda name: (partition_of(name), name),
    )
    groups = [names[at : at + size] for at in range(0, len(names), size)]
    compared, found = 0, dict[Place, Drift]()
    for group in groups + [[name] for name in sorted(alone)]:
        await looks.step()
        accounts = [each for each in await looks.ledger.accounts(group) if each is not None]
        figures = [
            (account, each)
            for account in accounts
            for each in account.figures
            if looks.span is None or _overlap(looks.span, each.period)
        ]
        compared += len({account.organization_id for account, _ in figures})
        for drift in await _compare(looks.database, figures, source):
            found[drift.organization_id, drift.user_id, drift.place] = drift
    return compared, found


async def _compare(
    database: Database, figures: Sequence[tuple[LedgerAccount, LedgerFigures]], source: Source
) -> list[Drift]:
    accounts = {account.organization_id: account for account, _ in figures}
    keys = [
        (session.session_id, row.minute)
        for account in accounts.values()
        for session in account.pending
        for row in session.minutes
    ]
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        masks = await _masks(connection, keys) if keys else {}
        places = [(account.organization_id, each.period) for account, each in figures]
        counts = await source(connection, places)
    drifts: list[Drift] = []
    for (account, each), counted in zip(figures, counts, strict=True):
        _add_pending(counted, account, each.period, masks)
        drifts += _differences(account.organization_id, each, counted)
    return drifts


def _overlap(one: Period, other: Period) -> bool:
    return one.start < other.end and other.start < one.end


def _add_pending(
    counted: Counter[str],
    account: LedgerAccount,
    period: Period,
    masks: dict[tuple[str, int], int],
) -> None:
    """Add what the ledger has counted of a period and Postgres' rows don't have."""
    for session in account.pending:
        for row in session.minutes:
            if row.minute * 60 in period:
                known = masks.get((session.session_id, row.minute), 0)
                counted[session.user_id] += (row.mask & ~known).bit_count()


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


async def _counted(
    connection: Connection, places: Sequence[tuple[str, Period]]
) -> list[Counter[str]]:
    """Out of the rows."""
    names, periods = [name for name, _ in places], [period for _, period in places]
    starts = [_moment(period.start) for period in periods]
    ends = [_moment(period.end) for period in periods]
    return await _sums(connection, len(places), "load_counted_between", names, starts, ends)


async def _kept(connection: Connection, places: Sequence[tuple[str, Period]]) -> list[Counter[str]]:
    """Out of the figures that are kept beside them."""
    names, periods = [name for name, _ in places], [period for _, period in places]
    starts = [_moment(period.start) for period in periods]
    are_months = [period == month_of(period.start) for period in periods]
    months = [
        start.date() if is_month else None
        for start, is_month in zip(starts, are_months, strict=True)
    ]
    return await _sums(connection, len(places), "load_kept_between", names, months, starts)


async def _sums(
    connection: Connection, number: int, name: str, *columns: Sequence[object]
) -> list[Counter[str]]:
    """Members' seconds at each of so many places, by a statement that gives them by position."""
    sums = [Counter[str]() for _ in range(number)]
    for row in await connection.fetch(statement(name), *columns) if number else ():
        sums[row["at"] - 1][row["user_id"]] = row["seconds"]
    return sums


_moment = partial(datetime.fromtimestamp, tz=UTC)
