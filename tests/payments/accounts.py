"""Accounts that are billed overage through Stripe."""

import asyncpg

METER = "overage_minutes"


async def billed_account(
    db: asyncpg.Connection, organization: str = "acme", customer: str = "cus_1", minutes: int = 1
) -> None:
    """An organization with a customer, on a plan that bills what is past so many minutes."""
    plan = f"metered_{minutes}"
    await db.execute(
        "INSERT INTO plans (id, name, soft_cap, stripe_meter_event_name)"
        " VALUES ($1, $1, true, $2) ON CONFLICT DO NOTHING",
        plan,
        METER,
    )
    await db.execute(
        "INSERT INTO plan_limits VALUES ($1, 'minutes_per_month', $2) ON CONFLICT DO NOTHING",
        plan,
        minutes,
    )
    await db.execute(
        "INSERT INTO organizations (id, stripe_customer_id) VALUES ($1, $2)", organization, customer
    )
    await db.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ($1, $2)",
        organization,
        plan,
    )


async def use(db: asyncpg.Connection, seconds: int, organization: str = "acme") -> None:
    """Seconds more (or, below zero, less) in the present period."""
    await db.execute(
        "INSERT INTO usage_adjustments (organization_id, seconds, reason, author)"
        " VALUES ($1, $2, 'a test', 'tests')",
        organization,
        seconds,
    )


async def overage(db: asyncpg.Connection, organization: str = "acme") -> tuple[int, ...]:
    """Minutes owed, reported and waiting, and the difference of the first two, of the newest
    period."""
    row = await db.fetchrow(
        "SELECT owed_minutes, reported_minutes, waiting_minutes, difference FROM stripe_overage"
        " WHERE organization_id = $1 ORDER BY period_start DESC LIMIT 1",
        organization,
    )
    assert row is not None
    return tuple(row)
