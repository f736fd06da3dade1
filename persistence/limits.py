"""Limits in Postgres: who has which, and setting them."""

import time
from dataclasses import dataclass
from datetime import date

from meter.cycles import Cycles
from meter.periods import Period, date_of
from persistence.adjusted import load_adjusted
from persistence.database import Database
from persistence.periods import load_cycles, make_periods
from persistence.statements import statement
from persistence.terms import terms_of


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """A limit and what was used of it in a period, in seconds; no limit: None. What was adjusted
    by hand is in it. Of what an organization used, its plan bills `overage_seconds` past the limit,
    which are not in `used_seconds`."""

    limit_seconds: int | None
    used_seconds: int
    overage_seconds: int = 0

    @property
    def remaining_seconds(self) -> int | None:
        """What is left; None when unlimited."""
        if self.limit_seconds is None:
            return None
        return max(self.limit_seconds - self.used_seconds, 0)


@dataclass(frozen=True, slots=True)
class OrganizationLimits:
    """An organization's figures of a period, and its members', by user. `month` is the date on
    which the period starts in `time_zone`, the zone by which its periods turn."""

    organization_id: str
    month: date
    period: Period
    time_zone: str
    organization: LimitFigures
    members: dict[str, LimitFigures]


async def set_limit(
    database_url: str, organization_id: str, user_id: str | None, seconds: int | None
) -> None:
    """Set an organization's limit, or with `user_id` a member's; None: unlimited. What is missing
    is made.

    Raises `StorageUnavailable` when Postgres cannot be asked, and `RowsRefused` for a bad value.
    """
    database = Database(database_url, name="minute-meter limits", max_connections=1)
    try:
        async with database.connection() as connection:
            if user_id is None:
                name = statement("set_organization_limit")
                await connection.execute(name, organization_id, seconds)
            else:
                name = statement("set_member_limit")
                await connection.execute(name, organization_id, user_id, seconds)
    finally:
        await database.aclose()


async def load_limits(database_url: str, organization_id: str) -> OrganizationLimits | None:
    """The present period's figures, as far as they are in Postgres; None for an organization that
    has no row and never recorded.

    Raises `StorageUnavailable` when Postgres cannot be asked.
    """
    now = int(time.time())
    database = Database(database_url, name="minute-meter limits", max_connections=1)
    try:
        async with database.connection() as connection:
            found = (await load_cycles(connection, [organization_id])).get(organization_id)
            cycles = found or Cycles()
            period, zone = cycles.period_of(now), cycles.at(now).zone
            month = date_of(period.start, zone)
            if found is not None:
                await make_periods(connection, [organization_id], now)
            rows = await connection.fetch(
                statement("load_limits"),
                organization_id,
                month if found is None else None,
                None if found is None else period.start,
            )
            adjusted = await load_adjusted(connection, {organization_id: [period]})
            terms = await connection.fetchrow(
                statement("load_account_limits"), organization_id, None
            )
    finally:
        await database.aclose()
    added = {each.user_id: each.seconds for each in adjusted.get(organization_id, ())}
    used = {row["user_id"]: row["used_seconds"] + added.get(row["user_id"], 0) for row in rows}
    limits = {row["user_id"]: row["limit_seconds"] for row in rows}
    if None not in used:
        return None
    figures = {user_id: LimitFigures(limits[user_id], used[user_id]) for user_id in used}
    bills_overage = terms is not None and terms_of(terms).bills_past_limit
    organization = _apart(figures.pop(None)) if bills_overage else figures.pop(None)
    return OrganizationLimits(organization_id, month, period, zone, organization, figures)


def _apart(figures: LimitFigures) -> LimitFigures:
    """With what was used past the limit as overage."""
    if figures.limit_seconds is None:
        return figures
    overage = max(figures.used_seconds - figures.limit_seconds, 0)
    return LimitFigures(figures.limit_seconds, figures.used_seconds - overage, overage)
