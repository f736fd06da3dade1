"""The chain of reported overage minutes, and what a period owes."""

import itertools
import random
import time

import asyncpg
import pytest

from meter.payments import NotTaken, OverageReport
from persistence.database import Database
from persistence.payments.overage import OverageReporter
from tests.payments.accounts import billed_account, overage, use
from tests.payments.events import subscription, told
from tests.sql.test_stripe import prices, take

__all__ = ["prices"]

pytestmark = pytest.mark.integration


ADD_RANGE = (
    "INSERT INTO stripe_meter_events (organization_id, period_start, from_minute, to_minute,"
    " identifier, stripe_customer_id, event_name, occurred_at) SELECT organization_id,"
    " period_start, $1, $2, 'x', 'c', 'e', now() FROM stripe_overage_periods"
)


@pytest.mark.parametrize(("begin", "end"), [(0, 5), (5, 20), (9, 10), (10, 10), (11, 20), (0, 10)])
async def test_no_range_can_overlap_another_or_leave_a_gap(
    db: asyncpg.Connection, begin: int, end: int
) -> None:
    await chain(db, [10])
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await db.execute(ADD_RANGE, begin, end)
    await db.execute(ADD_RANGE, 10, 20)


async def test_ranges_stay_as_they_are(db: asyncpg.Connection) -> None:
    await chain(db, [10])
    for change in (
        "DELETE FROM stripe_meter_events",
        "UPDATE stripe_meter_events SET to_minute = 11",
        "UPDATE stripe_meter_events SET identifier = 'other'",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await db.execute(change)


async def test_an_organization_that_is_renamed_keeps_what_was_reported(
    db: asyncpg.Connection,
) -> None:
    await chain(db, [10, 20])
    await db.execute("UPDATE usage_adjustments SET organization_id = organization_id WHERE false")
    await db.execute("UPDATE organizations SET id = 'initech' WHERE id = 'acme'")
    reported = "SELECT sum(minutes) FROM stripe_meter_events WHERE organization_id = 'initech'"
    assert await db.fetchval(reported) == 20


async def test_a_later_plan_does_not_reach_back_into_a_period_that_has_ended(
    db: asyncpg.Connection,
) -> None:
    await billed_account(db, "globex", "cus_2", minutes=100)
    await db.execute(
        "UPDATE user_subscriptions SET started_at = '2026-01-01' WHERE organization_id = 'globex'"
    )
    await use(db, 6600, "globex")
    period = (
        "SELECT overage_seconds FROM account_period('globex') AS p, overage_between('globex',"
        " p.period_start, p.period_end, p.time_zone)"
    )
    assert await db.fetchval(period) == 600
    await db.execute("UPDATE user_subscriptions SET plan_id = 'starter' WHERE ended_at IS NULL")
    assert await db.fetchval(period) == 0
    await db.execute("UPDATE plan_limits SET limit_value = 1 WHERE plan_id = 'metered_100'")
    await db.execute("UPDATE user_subscriptions SET plan_id = 'metered_100' WHERE ended_at IS NULL")
    assert await db.fetchval(period) == 6540


async def chain(db: asyncpg.Connection, ends: list[int]) -> None:
    """Reported ranges of the account up to these minutes."""
    await db.execute(
        "INSERT INTO stripe_overage_periods SELECT 'acme', period_start, period_end, time_zone,"
        " 'cus_1', 'overage_minutes' FROM account_period('acme')"
    )
    for begin, end in itertools.pairwise([0, *ends]):
        await db.execute(
            "INSERT INTO stripe_meter_events (organization_id, period_start, from_minute,"
            " to_minute, identifier, stripe_customer_id, event_name, occurred_at, status, sent_at)"
            " SELECT organization_id, period_start, $1, $2, $3, 'cus_1', 'm', now(), 'sent', now()"
            " FROM stripe_overage_periods",
            begin,
            end,
            f"mm_{random.random()}",
        )


async def test_the_view_says_what_is_owed_and_what_was_reported(db: asyncpg.Connection) -> None:
    await chain(db, [10, 20])
    assert await overage(db) == (20, 20, 0, 0)  # no plan bills any overage now
    plan = "UPDATE plans SET soft_cap = true WHERE id = 'professional'"
    await db.execute(plan)
    await take(db, told("created", subscription()))
    assert await overage(db) == (0, 20, 0, -20)
    await use(db, 800 * 60 + 1801)
    assert await overage(db) == (31, 20, 0, 11)


async def test_a_plan_that_ends_is_owed_what_it_billed_until_then(db: asyncpg.Connection) -> None:
    await billed_account(db, "globex", "cus_2")
    await db.execute(
        "INSERT INTO stripe_overage_periods SELECT 'globex', period_start, period_end, time_zone,"
        " 'cus_2', 'overage_minutes' FROM account_period('globex')"
    )
    await use(db, 660, "globex")
    await db.execute("UPDATE user_subscriptions SET plan_id = 'premium' WHERE ended_at IS NULL")
    assert await overage(db, "globex") == (10, 0, 10, 10)
    await use(db, 600, "globex")
    await db.execute("UPDATE user_subscriptions SET ended_at = now(), status = 'canceled'")
    assert await overage(db, "globex") == (10, 0, 10, 10)


class Sender:
    """Takes all that it is sent."""

    def __init__(self) -> None:
        self.reports: list[OverageReport] = []

    async def send(self, report: OverageReport) -> NotTaken | None:
        self.reports.append(report)
        return None


async def test_what_is_owed_is_reported_page_by_page(
    db: asyncpg.Connection, sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.payments.overage.BATCH_ACCOUNTS", 2)
    for number in range(5):
        await billed_account(db, f"org_{number}", f"cus_o{number}")
        await use(db, 120 + 60 * number, f"org_{number}")
    database, sender = Database(sql_url, name="test", max_connections=1), Sender()
    for _ in range(2):
        assert await OverageReporter(sender, database, 300).report() == 300
    await database.aclose()
    assert [report.minutes for report in sender.reports] == [1, 2, 3, 4, 5]
    bounds = (report.occurred_at - time.time() for report in sender.reports)
    assert all(-30 < bound < 30 for bound in bounds)


@pytest.mark.parametrize(
    ("ended", "dated"),
    [("-10 minutes", "period_end - interval '1 second'"), ("-2 hours", "now()")],
)
async def test_what_comes_late_is_of_its_period_while_that_has_an_invoice_to_come(
    db: asyncpg.Connection, ended: str, dated: str
) -> None:
    await billed_account(db, "globex", "cus_2")
    await db.execute(
        "UPDATE user_subscriptions SET started_at = now() - interval '90 days'"
        " WHERE organization_id = 'globex'"
    )
    await db.execute(
        "INSERT INTO stripe_overage_periods SELECT 'globex', now() - interval '30 days',"
        " now() + $1::text::interval, 'UTC', 'cus_2', 'overage_minutes'",
        ended,
    )
    await db.execute(
        "INSERT INTO usage_adjustments (organization_id, seconds, reason, author, effective_at)"
        " VALUES ('globex', 600, 'late', 'tests', now() - interval '3 hours')"
    )
    async with db.transaction():
        await db.execute("SELECT add_overage_ranges('globex', false)")
        right = await db.fetchval(
            f"SELECT occurred_at = {dated} FROM stripe_meter_events"
            " JOIN stripe_overage_periods USING (organization_id, period_start)"
        )
    assert right
