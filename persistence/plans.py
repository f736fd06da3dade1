"""Plans in Postgres: which there are, and who has which."""

from dataclasses import dataclass
from typing import Any

from persistence.database import Database
from persistence.statements import statement


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, with what it includes by usage type (None: unlimited), and how many accounts have
    it."""

    id: str
    name: str
    price_cents: int
    currency: str
    is_default: bool
    limits: dict[str, int | None]
    policies: dict[str, Any]
    accounts: int


class UnknownPlan(Exception):
    """There is no plan of this id."""

    def __init__(self, plan_id: str) -> None:
        super().__init__(f"there is no plan {plan_id[:64]!r}")
        self.plan_id = plan_id


POLICIES = (
    "soft_cap",
    "overage_ceiling_seconds",
    "grace_seconds",
    "grace_is_overage",
    "max_concurrent_sessions",
    "max_session_seconds",
    "warn_minutes_remaining",
    "warn_percent_used",
    "billing_increment",
    "billing_rounding",
)


async def load_plans(database_url: str) -> list[Plan]:
    """All plans, the cheapest first. Raises `StorageUnavailable` when Postgres cannot be asked."""
    database = Database(database_url, name="minute-meter plans", max_connections=1)
    try:
        async with database.connection() as connection:
            rows = await connection.fetch(statement("load_plans"))
    finally:
        await database.aclose()
    return [
        Plan(
            id=row["id"],
            name=row["name"],
            price_cents=row["price_cents"],
            currency=row["currency"],
            is_default=row["is_default"],
            limits={
                name: None if value == -1 else value
                for name, value in zip(row["usage_types"], row["limit_values"], strict=True)
            },
            policies={name: row[name] for name in POLICIES},
            accounts=row["accounts"],
        )
        for row in rows
    ]


async def assign_plan(database_url: str, organization_id: str, plan_id: str) -> None:
    """Give an organization a plan in place of the one it has; what it used stays. An organization
    that is missing is made.

    Raises `StorageUnavailable` when Postgres cannot be asked, and `UnknownPlan`.
    """
    database = Database(database_url, name="minute-meter plans", max_connections=1)
    try:
        async with database.connection() as connection, connection.transaction():
            if not await connection.fetch("SELECT FROM plans WHERE id = $1", plan_id):
                raise UnknownPlan(plan_id)
            await connection.execute(statement("make_organization"), organization_id)
            await connection.execute(statement("assign_plan"), organization_id, plan_id)
    finally:
        await database.aclose()
