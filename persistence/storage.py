"""What the ledger's users need of Postgres (`meter.ledger.types.Storage`)."""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime
from uuid import UUID

import asyncpg

from meter.cycles import Cycles
from meter.ledger.types import (
    AccountFigures,
    Minute,
    SessionKey,
    SessionState,
    StorageUnavailable,
    StoredSession,
)
from meter.periods import Period, around
from meter.thresholds import Alert
from persistence.adjusted import load_adjusted
from persistence.alerts import note_alerts
from persistence.database import Connection, Database
from persistence.errors import RowsRefused
from persistence.migrations import check_version
from persistence.periods import Used, load_cycles, load_period_usage, make_periods
from persistence.statements import statement
from persistence.terms import seconds_or_unlimited, terms_of

logger = logging.getLogger(__name__)


class PostgresStorage:
    """Reads sessions and accounts. Made at once; connects when first used, and again as needed.

    Every method raises `StorageUnavailable` when Postgres cannot be asked now.
    """

    def __init__(
        self, database_url: str, *, max_connections: int = 4, timeout_seconds: float = 5.0
    ) -> None:
        self._database = Database(
            database_url,
            name="minute-meter storage",
            max_connections=max_connections,
            timeout_seconds=timeout_seconds,
        )

    async def load_session(self, session_id: str) -> StoredSession | None:
        """The session and its minutes, whoever's it is; None when Postgres never saw it.

        With a revision of 0 Postgres has its minutes, and not the session's own row.
        """
        key = UUID(session_id)
        async with self._database.connection() as connection:
            found = await load_sessions(connection, [key])
        return found[0] if found else None

    async def load_account(
        self,
        organization_id: str,
        user_id: str,
        at_second: int,
        *,
        with_live: bool = True,
    ) -> AccountFigures:
        """The account's limits, its figures in its periods before, of and after an epoch second,
        and on request the organization's live sessions, all as of one moment; zeros for an account
        without rows, and no limit."""
        if organization_id == user_id:
            await self._ensure_user(user_id)
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            limits = await connection.fetchrow(
                statement("load_account_limits"), organization_id, user_id
            )
            assert limits is not None  # the function always gives one
            cycles = (await load_cycles(connection, [organization_id])).get(organization_id)
            periods = around(at_second) if cycles is None else cycles.around(at_second)
            kept = await _kept(connection, organization_id, user_id, periods, cycles)
            missing = [period for period in periods if period not in kept]
            used = kept | {
                period: await _used_between(connection, organization_id, user_id, period)
                for period in missing
            }
            adjusted = await load_adjusted(connection, {organization_id: periods})
            live = await _live_sessions(connection, organization_id) if with_live else None
        if missing:
            await self._make_periods(organization_id, at_second)
        return AccountFigures(
            organization_id=organization_id,
            user_id=user_id,
            periods=periods,
            organization_used=tuple(used[period][0] for period in periods),
            member_used=tuple(used[period][1] for period in periods),
            organization_limit=seconds_or_unlimited(limits["organization_limit"]),
            member_limit=seconds_or_unlimited(limits["member_limit"]),
            terms=terms_of(limits),
            limits_version=limits["version"],
            live=live,
            adjustments=adjusted.get(organization_id, ()),
        )

    async def _ensure_user(self, user_id: str) -> None:
        """A personal account that records for the first time gets its user, and the plan of new
        users, before its limits are read."""
        async with self._database.connection() as connection:
            await connection.execute(statement("ensure_user"), user_id)

    async def _make_periods(self, organization_id: str, at_second: int) -> None:
        """Spare the next one who asks the rows of periods whose figures aren't kept yet."""
        try:
            async with self._database.connection() as connection:
                await make_periods(connection, [organization_id], at_second)
        except (StorageUnavailable, RowsRefused) as error:
            logger.warning("periods of %s cannot be made now: %s", organization_id, error)

    async def note_alerts(self, alerts: list[Alert]) -> None:
        """Make a row of each crossed threshold that has none yet."""
        async with self._database.connection() as connection:
            await note_alerts(connection, alerts)

    async def ping(self) -> None:
        """Return when Postgres answers and its schema is the one this program needs."""
        async with self._database.connection() as connection:
            await check_version(connection)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()


async def _live_sessions(connection: Connection, organization_id: str) -> tuple[StoredSession, ...]:
    rows = await connection.fetch(statement("load_live_sessions"), organization_id)
    return await load_sessions(connection, [row["session_id"] for row in rows])


async def load_sessions(connection: Connection, keys: Sequence[UUID]) -> tuple[StoredSession, ...]:
    """Sessions and their minutes; none for what was never written."""
    rows = await connection.fetch(statement("load_sessions"), keys)
    return tuple(_stored(row) for row in rows)


async def _kept(
    connection: Connection,
    organization_id: str,
    user_id: str,
    periods: Sequence[Period],
    cycles: Cycles | None,
) -> dict[Period, Used]:
    """Seconds used by the organization and by the member in those of the periods that have kept
    figures; without `cycles`, periods are UTC months, and all of them have."""
    if cycles is not None:
        return await load_period_usage(connection, organization_id, user_id, periods)
    months = {_first_day(period): period for period in periods}
    used: dict[Period, Used] = dict.fromkeys(periods, (0, 0))
    rows = await connection.fetch(statement("load_months"), organization_id, user_id, list(months))
    for row in rows:
        used[months[row["month"]]] = (row["organization_used"], row["member_used"])
    return used


async def _used_between(
    connection: Connection, organization_id: str, user_id: str, period: Period
) -> Used:
    row = await connection.fetchrow(
        statement("load_usage_between"),
        organization_id,
        user_id,
        datetime.fromtimestamp(period.start, UTC),
        datetime.fromtimestamp(period.end, UTC),
    )
    assert row is not None  # an aggregate always gives one
    return row["organization_used"], row["member_used"]


def _first_day(period: Period) -> date:
    return datetime.fromtimestamp(period.start, UTC).date()


def _stored(row: asyncpg.Record) -> StoredSession:
    minutes = tuple(
        Minute(minute, mask)
        for minute, mask in sorted(zip(row["minutes"], row["masks"], strict=True))
    )
    origin = row["origin"]
    highest = _highest(minutes, origin)
    state = SessionState(
        key=SessionKey(row["organization_id"], str(row["session_id"])),
        user_id=row["user_id"],
        kind=row["kind"],
        origin=origin,
        revision=row["revision"],
        seconds=sum(_since(origin, minute).bit_count() for minute in minutes),
        highest=highest,
        durable_through=highest,
        ended_at=row["ended_at"],
        end_reason=row["end_reason"],
    )
    return StoredSession(state, minutes)


def _since(origin: int, minute: Minute) -> int:
    """The mask without the seconds before second 0 of the session."""
    before = max(origin - minute.minute * 60, 0)
    return minute.mask >> before << before


def _highest(minutes: Sequence[Minute], origin: int) -> int:
    """The last second counted, by its number in the session; -1 when there is none."""
    if not minutes or not _since(origin, minutes[-1]):
        return -1
    return minutes[-1].minute * 60 + minutes[-1].mask.bit_length() - 1 - origin
