"""Limits in Postgres: who has which, and setting them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from meter.ledger.types import UNLIMITED
from persistence.database import Database
from persistence.statements import statement


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """A limit and what was used of it in a month, in seconds; no limit: None."""

    limit_seconds: int | None
    used_seconds: int

    @property
    def remaining_seconds(self) -> int | None:
        """What is left; None when unlimited."""
        if self.limit_seconds is None:
            return None
        return max(self.limit_seconds - self.used_seconds, 0)


@dataclass(frozen=True, slots=True)
class OrganizationLimits:
    """An organization's figures of a UTC month, and its members', by user."""

    organization_id: str
    month: date
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
    """The present month's figures, as far as they are in Postgres; None for an organization that
    has no row and never recorded.

    Raises `StorageUnavailable` when Postgres cannot be asked.
    """
    month = datetime.now(UTC).date().replace(day=1)
    database = Database(database_url, name="minute-meter limits", max_connections=1)
    try:
        async with database.connection() as connection:
            rows = await connection.fetch(statement("load_limits"), organization_id, month)
    finally:
        await database.aclose()
    figures = {
        row["user_id"]: LimitFigures(row["limit_seconds"], row["used_seconds"]) for row in rows
    }
    organization = figures.pop(None, None)
    if organization is None:
        return None
    return OrganizationLimits(organization_id, month, organization, figures)


def seconds_or_unlimited(seconds: int | None) -> int:
    """A limit as the ledger has it, out of one where null means unlimited."""
    return UNLIMITED if seconds is None else seconds
