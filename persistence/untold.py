"""What the ledger was not told yet of organizations' limits and adjustments."""

import time
from collections.abc import Collection

from meter.cycles import Cycles
from meter.ledger.types import AccountLimits
from meter.periods import Period, around
from persistence.adjusted import load_adjusted
from persistence.database import Connection
from persistence.periods import load_cycles
from persistence.statements import statement
from persistence.terms import seconds_or_unlimited, terms_of


async def load_untold(
    connection: Connection, most: int, only: Collection[str] | None = None
) -> tuple[list[AccountLimits], dict[str, Cycles]]:
    """What holds now for organizations whose changes weren't told, up to so many, of all or `only`
    of these; and the cycles of those of them that ever had others than calendar months in UTC.

    It may be newer than its version, and is then told again with that one's.
    """
    names = None if only is None else list(only)
    rows = await connection.fetch(statement("load_limit_changes"), most, names)
    if not rows:
        return [], {}
    found = [row["organization_id"] for row in rows]
    cycles = await load_cycles(connection, found)
    now = int(time.time())
    periods = {name: _periods(cycles.get(name), now) for name in found}
    adjusted = await load_adjusted(
        connection, {name: each or around(now) for name, each in periods.items()}
    )
    limits = [
        AccountLimits(
            row["organization_id"],
            row["version"],
            seconds_or_unlimited(row["organization_limit"]),
            dict(zip(row["user_ids"], row["member_limits"], strict=True)),
            terms_of(row),
            periods[row["organization_id"]],
            adjusted.get(row["organization_id"], ()),
        )
        for row in rows
    ]
    return limits, cycles


def _periods(cycles: Cycles | None, now: int) -> tuple[Period, ...]:
    """The periods to tell; none of an account that always had calendar months in UTC."""
    return () if cycles is None else cycles.around(now)
