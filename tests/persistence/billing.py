"""Short ways to say how an account is billed, and to read its periods."""

from datetime import datetime

import asyncpg

from meter.periods import BillingCycle, Period

AUCKLAND = "Pacific/Auckland"


def at(text: str) -> int:
    """Epoch seconds of an ISO time with its offset."""
    return int(datetime.fromisoformat(text).timestamp())


async def noted(connection: asyncpg.Connection, organization: str = "org_1") -> list[BillingCycle]:
    """All cycles that were set, in that order."""
    rows = await connection.fetch(
        "SELECT * FROM billing_cycles WHERE organization_id = $1 ORDER BY set_at", organization
    )
    return [BillingCycle(row["time_zone"], row["anchor_day"]) for row in rows]


async def kept(connection: asyncpg.Connection) -> set[tuple[str, str, int, int]]:
    """Organization, user, period's start and seconds."""
    rows = await connection.fetch(
        "SELECT organization_id, user_id, extract(epoch FROM period_start)::bigint, seconds_used"
        " FROM period_usage WHERE seconds_used > 0"
    )
    return {tuple(row) for row in rows}


async def assert_periods_follow_rows(connection: asyncpg.Connection) -> None:
    """Kept figures are those of the rows, summed by each row's own minute."""
    rows = await connection.fetch(
        "SELECT tracked.organization_id, user_id, extract(epoch FROM period_start)::bigint,"
        " sum(bit_count(seconds_mask::bit(64)))::bigint"
        " FROM usage_tracking AS tracked JOIN billing_periods AS made"
        " ON made.organization_id = tracked.organization_id"
        " AND minute_timestamp >= period_start AND minute_timestamp < period_end"
        " GROUP BY 1, 2, 3"
    )
    assert await kept(connection) == {tuple(row) for row in rows}


async def made_of(connection: asyncpg.Connection, organization: str = "org_1") -> list[Period]:
    """The periods that are made."""
    rows = await connection.fetch(
        "SELECT extract(epoch FROM period_start)::bigint, extract(epoch FROM period_end)::bigint"
        " FROM billing_periods WHERE organization_id = $1 ORDER BY 1",
        organization,
    )
    return [Period(*row) for row in rows]


async def subscribe(
    connection: asyncpg.Connection, started_at: str, billing_cycle: str = "anniversary"
) -> None:
    """Give org_1 a subscription in place of the one it has."""
    await connection.execute(
        "INSERT INTO organizations (id) VALUES ('org_1') ON CONFLICT DO NOTHING"
    )
    await connection.execute(
        "UPDATE user_subscriptions SET ended_at = now(), status = 'canceled' WHERE ended_at IS NULL"
    )
    await connection.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id, billing_cycle, started_at)"
        " VALUES ('org_1', 'premium', $2, $1)",
        datetime.fromisoformat(started_at),
        billing_cycle,
    )
