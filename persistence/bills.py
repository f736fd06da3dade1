"""What an account is billed for a period: exact seconds, rounded once, as its plan says."""

from dataclasses import dataclass
from datetime import UTC, datetime

from meter.billing import BillingRule, Increment, Rounding, Session
from meter.cycles import Cycles
from meter.periods import Period
from persistence.database import Connection, Database
from persistence.periods import load_cycles
from persistence.statements import statement
from persistence.terms import terms_of


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A line of a bill: seconds that `author` added by hand (or gave back, below zero), and why. It
    is of the period that holds `effective_at`; no user: the organization's figure alone."""

    user_id: str | None
    seconds: int
    effective_at: datetime
    reason: str
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Bill:
    """A period of an account. All figures are in seconds but `sessions` and `reported_minutes`.

    `recorded` is what its sessions counted, `adjusted` the sum of `adjustments`, which are in the
    order of their moments.
    `billed` is both, rounded by `rule`, 0 at least. `overage` are the exact ones of both that are
    past `limit` (None: unlimited), where the plan bills that.
    """

    organization_id: str
    period: Period
    time_zone: str
    plan_id: str | None
    rule: BillingRule
    sessions: int
    recorded: int
    adjustments: tuple[Adjustment, ...]
    billed: int
    limit: int | None
    overage: int
    # Overage minutes that Stripe was told; None: it isn't told of this period.
    reported_minutes: int | None = None

    @property
    def adjusted(self) -> int:
        """What was added or given back by hand, in all."""
        return sum(each.seconds for each in self.adjustments)


async def load_bill(database_url: str, organization_id: str, at_second: int) -> Bill:
    """The bill of the account's period that holds an epoch second, by its present plan.

    Reads all rows of the period: it is for billing, not for watching. Raises `StorageUnavailable`
    when Postgres cannot be asked.
    """
    database = Database(database_url, name="minute-meter bill", max_connections=1)
    try:
        async with (
            database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await _bill(connection, organization_id, at_second)
    finally:
        await database.aclose()


async def _bill(connection: Connection, organization_id: str, at_second: int) -> Bill:
    cycles = (await load_cycles(connection, [organization_id])).get(organization_id, Cycles())
    period = cycles.period_of(at_second)
    row = await connection.fetchrow(statement("load_account_limits"), organization_id, None)
    assert row is not None  # the function always gives one
    sessions = [
        Session(each["seconds"], each["earlier"])
        for each in await connection.fetch(
            statement("load_session_seconds"),
            organization_id,
            datetime.fromtimestamp(period.start, UTC),
            datetime.fromtimestamp(period.end, UTC),
        )
    ]
    adjustments = await _adjustments(connection, organization_id, period)
    adjusted = sum(each.seconds for each in adjustments)
    rule = BillingRule()
    if row["plan_id"] is not None:
        rule = BillingRule(
            Increment.parse(row["billing_increment"]), Rounding(row["billing_rounding"])
        )
    recorded = sum(session.seconds for session in sessions)
    limit, terms = row["organization_limit"], terms_of(row)
    reported = await connection.fetchval(
        statement("load_reported_overage"),
        organization_id,
        datetime.fromtimestamp(period.start, UTC),
    )
    past = recorded + adjusted - limit if limit is not None else 0
    return Bill(
        organization_id=organization_id,
        period=period,
        time_zone=cycles.at(period.start).zone,
        plan_id=row["plan_id"],
        rule=rule,
        sessions=len(sessions),
        recorded=recorded,
        adjustments=adjustments,
        billed=rule.billed_seconds(sessions, adjusted),
        limit=limit,
        overage=max(past, 0) if terms.bills_past_limit else 0,
        reported_minutes=reported,
    )


async def _adjustments(
    connection: Connection, organization_id: str, period: Period
) -> tuple[Adjustment, ...]:
    rows = await connection.fetch(
        statement("load_period_adjustments"),
        organization_id,
        datetime.fromtimestamp(period.start, UTC),
        datetime.fromtimestamp(period.end, UTC),
    )
    return tuple(Adjustment(**row) for row in rows)
