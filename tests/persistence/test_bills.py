"""Bills: exact seconds of a period, rounded once and as the plan says."""

import asyncpg
import pytest

from meter.billing import Increment, Rounding
from meter.periods import month_of, month_start
from persistence.bills import Bill, load_bill
from persistence.writer import Writer
from tests.persistence.builders import FULL, NOW, THIS_MINUTE, due, session_id

pytestmark = pytest.mark.integration

ONE, TEN = 1, (1 << 10) - 1


async def plan(connection: asyncpg.Connection, **columns: object) -> None:
    """The organization gets a plan with these columns and 1 minute a month."""
    await connection.execute("INSERT INTO organizations (id) VALUES ('org_1')")
    await connection.execute("INSERT INTO plans (id, name) VALUES ('p', 'P')")
    await connection.execute("INSERT INTO plan_limits VALUES ('p', 'minutes_per_month', 1)")
    for name, value in columns.items():
        await connection.execute(f"UPDATE plans SET {name} = $1 WHERE id = 'p'", value)
    await connection.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ('org_1', 'p')"
    )


async def bill(database_url: str, at: int = NOW) -> Bill:
    return await load_bill(database_url, "org_1", at)


async def record(writer: Writer, *masks: int) -> None:
    """A session a mask, all in this minute."""
    await writer.write([due((THIS_MINUTE, mask)) for mask in masks])


async def test_by_default_seconds_are_summed_and_then_rounded_up_to_minutes(
    database_url: str, writer: Writer
) -> None:
    await record(writer, FULL, ONE, ONE)
    found = await bill(database_url)
    assert (found.sessions, found.recorded, found.billed) == (3, 62, 120)
    assert (found.plan_id, found.limit, found.period) == (None, None, month_of(NOW))


@pytest.mark.parametrize(
    ("increment", "rounding", "billed"),
    [
        ("60/60", "period", 120),
        ("60/60", "session", 180),
        ("60/1", "session", 180),
        ("6/6", "session", 60 + 6 + 12),
        ("6/6", "period", 72),
        ("1/1", "period", 71),
    ],
)
async def test_a_plans_increment_is_applied_to_each_session_or_to_the_sum(
    database_url: str,
    writer: Writer,
    connection: asyncpg.Connection,
    increment: str,
    rounding: str,
    billed: int,
) -> None:
    await plan(connection, billing_increment=increment, billing_rounding=rounding)
    await record(writer, FULL, ONE, TEN)
    found = await bill(database_url)
    assert found.billed == billed
    assert (found.rule.increment, found.rule.rounding) == (
        Increment.parse(increment),
        Rounding(rounding),
    )


async def test_a_session_over_two_periods_is_billed_in_both_what_it_would_be_in_one(
    database_url: str, writer: Writer, connection: asyncpg.Connection
) -> None:
    await plan(connection, billing_increment="60/60", billing_rounding="session")
    turn = month_of(NOW).start
    await writer.write(
        [due((turn // 60 - 1, ONE), (turn // 60, TEN), session=session_id(), origin=turn - 60)]
    )
    before, present = await bill(database_url, turn - 1), await bill(database_url)
    assert (before.recorded, present.recorded) == (1, 10)
    assert (before.billed, present.billed) == (60, 0)


async def test_overage_is_what_is_billed_past_the_limit_where_the_plan_bills_it(
    database_url: str, writer: Writer, connection: asyncpg.Connection
) -> None:
    await plan(connection, billing_increment="1/1")
    await record(writer, FULL, TEN)
    assert (await bill(database_url)).overage == 0
    await connection.execute("UPDATE plans SET soft_cap = true")
    found = await bill(database_url)
    assert (found.billed, found.limit, found.overage) == (70, 60, 10)


async def test_adjustments_are_part_of_the_sum_and_never_make_it_negative(
    database_url: str, writer: Writer, connection: asyncpg.Connection
) -> None:
    await plan(connection)
    await record(writer, FULL, TEN)
    adjust = (
        "INSERT INTO usage_adjustments "
        "(organization_id, user_id, seconds, effective_at, reason, author) "
        "VALUES ('org_1', $1, $2, to_timestamp($3), 'an outage', 'olga')"
    )
    await connection.execute(adjust, "user_1", -11, NOW)
    await connection.execute(adjust, None, -500, month_start(2001, 1))  # of another period
    found = await bill(database_url)
    assert (found.recorded, found.adjusted, found.billed) == (70, -11, 60)
    (line,) = found.adjustments
    assert (line.user_id, line.seconds, line.reason, line.author) == (
        "user_1",
        -11,
        "an outage",
        "olga",
    )
    assert line.effective_at.timestamp() == NOW
    await connection.execute(adjust, None, -500, NOW)
    assert (await bill(database_url)).billed == 0


async def test_an_account_that_never_recorded_is_billed_nothing(database_url: str) -> None:
    found = await bill(database_url)
    assert (found.sessions, found.recorded, found.billed) == (0, 0, 0)
