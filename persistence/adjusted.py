"""What was adjusted by hand in accounts' periods, as the ledger is told it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from meter.ledger.types import Adjusted
from meter.periods import Period
from persistence.database import Connection
from persistence.statements import statement


async def load_adjusted(
    connection: Connection, periods: Mapping[str, Sequence[Period]]
) -> dict[str, tuple[Adjusted, ...]]:
    """The sums of the adjustments in each organization's periods: the organization's, in which
    its members' are, and theirs. Organizations without any are left out."""
    starts = [period.start for each in periods.values() for period in each]
    if not starts:
        return {}
    rows = await connection.fetch(
        statement("load_adjustments"), list(periods), datetime.fromtimestamp(min(starts), UTC)
    )
    sums: dict[str, dict[tuple[int, str | None], int]] = {}
    for row in rows:
        organization_id, at = row["organization_id"], row["effective_at"]
        for period in periods[organization_id]:
            if at not in period:
                continue
            found = sums.setdefault(organization_id, {})
            for user_id in {None, row["user_id"]}:
                place = period.start, user_id
                found[place] = found.get(place, 0) + row["seconds"]
    return {
        organization_id: tuple(
            Adjusted(start, user_id, seconds) for (start, user_id), seconds in found.items()
        )
        for organization_id, found in sums.items()
    }
