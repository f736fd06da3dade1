"""Overage minutes are reported to Stripe, each of them once, whatever fails."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from meter.payments import NotTaken, OverageReport
from persistence.database import Database
from persistence.payments.overage import OverageReporter
from persistence.payments.provider import Provider
from tests.payments.accounts import billed_account, overage, use
from tests.payments.fake_stripe import KEY, UNKNOWN_CUSTOMER, FakeStripe, Fault, fake_stripe

pytestmark = pytest.mark.integration

ROWS = "SELECT from_minute, to_minute, status FROM stripe_meter_events ORDER BY id"


@pytest.fixture
async def stripe() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as fake:
        yield fake


@pytest.fixture
async def provider(stripe: FakeStripe) -> AsyncIterator[Provider]:
    provider = Provider(KEY, stripe.url, timeout_seconds=1.5)
    yield provider
    await provider.aclose()


@pytest.fixture
def reporter(provider: Provider, database: Database) -> OverageReporter:
    return OverageReporter(provider, database, interval_seconds=300)


async def ranges(db: asyncpg.Connection) -> list[tuple[int, int, str]]:
    return [tuple(row) for row in await db.fetch(ROWS)]


async def make_due(db: asyncpg.Connection) -> None:
    await db.execute("UPDATE stripe_meter_events SET next_attempt_at = now()")


class Dies:
    """A process that is killed when Stripe has answered, and nobody has noted it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def send(self, report: OverageReport) -> NotTaken | None:
        await self._provider.send(report)
        raise asyncio.CancelledError


async def test_whole_minutes_past_the_limit_are_reported_as_they_come_and_rounded_up_once(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await use(connection, 60)
    await reporter.report()
    assert stripe.asked == []
    for seconds, minutes in ((1, 1), (59, 1), (61, 3), (600, 13)):
        await use(connection, seconds)
        await reporter.report()
        await reporter.report()
        assert stripe.minutes("cus_1") == minutes
    assert await ranges(connection) == [(0, 1, "sent"), (1, 3, "sent"), (3, 13, "sent")]
    assert await overage(connection) == (13, 13, 0, 0)


async def test_a_report_is_of_now_with_the_name_of_the_plans_meter(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await use(connection, 200)
    await reporter.report()
    (taken,) = stripe.taken.values()
    now = await connection.fetchval("SELECT extract(epoch FROM now())::bigint")
    assert (taken.event_name, taken.customer, taken.minutes) == ("overage_minutes", "cus_1", 3)
    assert 0 <= now - taken.timestamp <= 30
    assert taken.identifier.startswith("mm_")
    assert len(taken.identifier) <= 100


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE organizations SET stripe_customer_id = NULL",
        "UPDATE plans SET stripe_meter_event_name = NULL",
        "UPDATE plans SET soft_cap = false",
        "UPDATE user_subscriptions SET status = 'canceled', ended_at = now()",
        "UPDATE organizations SET monthly_audio_hours_limit = -1",
    ],
)
async def test_nothing_is_reported_of_accounts_that_are_not_billed_overage_through_stripe(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter, change: str
) -> None:
    await billed_account(connection)
    await connection.execute(change)
    await use(connection, 600)
    await reporter.report()
    assert stripe.asked == []


async def test_one_that_dies_after_the_answer_is_followed_by_one_that_sends_the_same_again(
    connection: asyncpg.Connection, stripe: FakeStripe, provider: Provider, database: Database
) -> None:
    await billed_account(connection)
    await use(connection, 660)
    with pytest.raises(asyncio.CancelledError):
        await OverageReporter(Dies(provider), database, 300).report()
    await use(connection, 60)  # not part of the range that is in doubt
    await OverageReporter(provider, database, 300).report()
    assert stripe.asked[0] == stripe.asked[1]
    await OverageReporter(provider, database, 300).report()
    assert stripe.minutes("cus_1") == 11
    assert await overage(connection) == (11, 11, 0, 0)


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_minute_is_billed_once_whatever_goes_wrong_with_a_request(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter, fault: Fault
) -> None:
    await billed_account(connection)
    stripe.faults.extend([fault, fault])
    for seconds in (660, 120, 60):
        await use(connection, seconds)
        await reporter.report()
        await make_due(connection)
    await reporter.report()
    await reporter.report()
    assert stripe.minutes("cus_1") == 13
    assert await overage(connection) == (13, 13, 0, 0)


async def test_a_busy_stripe_is_left_alone_for_as_long_as_it_asks(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await billed_account(connection, "globex", "cus_2")
    await use(connection, 120)
    stripe.faults.append(Fault.BUSY)
    stripe.retry_after_seconds = 120
    pause = await reporter.report()
    assert 100 < pause <= 120
    waits = await connection.fetchval(
        "SELECT extract(epoch FROM next_attempt_at - now()) FROM stripe_meter_events"
    )
    assert 100 < waits <= 120
    await reporter.report()
    assert len(stripe.asked) == 1


async def test_a_refused_customer_does_not_hold_up_others(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection, "acme", UNKNOWN_CUSTOMER)
    await billed_account(connection, "globex", "cus_2")
    await use(connection, 120)
    await use(connection, 120, "globex")
    await reporter.report()
    assert stripe.minutes("cus_2") == 1
    error = "SELECT last_error FROM stripe_meter_events WHERE status = 'waiting'"
    assert "resource_missing" in await connection.fetchval(error)
    assert await overage(connection) == (1, 0, 1, 1)


async def test_customers_are_served_side_by_side_and_each_one_call_at_a_time(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    stripe.answer_after_seconds = 0.2
    for number in range(6):
        await billed_account(connection, f"org_{number}", f"cus_{number}")
        await use(connection, 120, f"org_{number}")
    await reporter.report()
    assert (stripe.most_at_once, len(stripe.taken)) == (6, 6)


async def test_ranges_of_one_customer_are_sent_one_after_the_other(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    stripe.answer_after_seconds = 0.05
    await billed_account(connection)
    await reporter.report()
    for plan in ("premium", "metered_1", "premium"):
        await use(connection, 120)
        await connection.execute("UPDATE user_subscriptions SET plan_id = $1", plan)
    assert await ranges(connection) == [(0, 1, "waiting"), (1, 5, "waiting")]
    await reporter.report()
    assert stripe.minutes("cus_1") == 5


async def test_while_stripe_is_away_minutes_wait_and_go_as_one_range_later(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    stripe.faults.extend([Fault.BROKEN] * 2)
    for _ in range(3):
        await use(connection, 60)
        await reporter.report()
        await make_due(connection)
    await reporter.report()
    await reporter.report()
    assert await ranges(connection) == [(0, 1, "sent"), (1, 2, "sent")]


async def test_two_at_once_report_each_minute_once(
    connection: asyncpg.Connection, stripe: FakeStripe, provider: Provider, database: Database
) -> None:
    stripe.answer_after_seconds = 0.05
    await billed_account(connection)
    await use(connection, 660)
    await asyncio.gather(*(OverageReporter(provider, database, 300).report() for _ in range(3)))
    assert len(stripe.asked) == 1
    assert stripe.minutes("cus_1") == 10


async def test_nothing_is_taken_back_when_less_is_owed_and_the_difference_is_seen(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await use(connection, 660)
    await reporter.report()
    await use(connection, -300)
    await reporter.report()
    assert await overage(connection) == (5, 10, 0, -5)
    await use(connection, 420)  # two minutes more than were reported
    await reporter.report()
    assert await overage(connection) == (12, 12, 0, 0)
    assert stripe.minutes("cus_1") == 12


async def test_what_was_in_doubt_for_a_day_is_left_to_an_operator(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await use(connection, 660)
    stripe.faults.append(Fault.TAKEN_AND_BROKEN)
    await reporter.report()
    stripe.forget_identifiers()
    await connection.execute(
        "UPDATE stripe_meter_events SET doubt_since = now() - interval '23 hours 1 minute',"
        " next_attempt_at = now()"
    )
    await reporter.report()
    assert await ranges(connection) == [(0, 10, "uncertain")]
    await use(connection, 60)
    await reporter.report()  # what comes later goes on
    assert stripe.minutes("cus_1") == 11
    identifier = await connection.fetchval(
        "SELECT identifier FROM stripe_meter_events WHERE status = 'uncertain'"
    )
    settle = "SELECT settle_stripe_meter_event($1, true)"
    assert await connection.fetchval(settle, identifier)
    assert not await connection.fetchval(settle, identifier)
    assert await overage(connection) == (11, 11, 0, 0)


async def test_what_was_surely_not_taken_is_sent_however_late(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await use(connection, 660)
    stripe.faults.append(Fault.BUSY)
    await reporter.report()
    await connection.execute(
        "UPDATE stripe_meter_events SET created_at = now() - interval '3 days',"
        " occurred_at = now() - interval '3 days', next_attempt_at = now()"
    )
    await reporter.report()
    assert await ranges(connection) == [(0, 10, "sent")]


async def test_what_stripe_takes_no_more_because_of_its_age_is_left_to_an_operator(
    connection: asyncpg.Connection, stripe: FakeStripe, reporter: OverageReporter
) -> None:
    await billed_account(connection)
    await use(connection, 660)
    stripe.faults.append(Fault.BUSY)
    await reporter.report()
    await connection.execute(
        "UPDATE stripe_meter_events SET occurred_at = now() - interval '34 days 13 hours',"
        " next_attempt_at = now()"
    )
    await reporter.report()
    assert await ranges(connection) == [(0, 10, "refused")]
    identifier = await connection.fetchval("SELECT identifier FROM stripe_meter_events")
    await connection.execute("SELECT settle_stripe_meter_event($1, false)", identifier)
    await reporter.report()
    assert stripe.minutes("cus_1") == 10


async def test_a_bad_key_is_told_without_it(
    connection: asyncpg.Connection,
    stripe: FakeStripe,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await billed_account(connection)
    await use(connection, 120)
    provider = Provider("sk_live_not_this_one", stripe.url)
    await OverageReporter(provider, database, 300).report()
    await provider.aclose()
    assert "401" in caplog.text
    error = await connection.fetchval("SELECT last_error FROM stripe_meter_events")
    assert "sk_live" not in caplog.text + error


async def test_it_stops_at_once_and_leaves_what_is_on_its_way_in_doubt(
    connection: asyncpg.Connection, stripe: FakeStripe, database: Database
) -> None:
    await billed_account(connection)
    await use(connection, 120)
    stripe.faults.append(Fault.TAKEN_AND_SILENT)
    provider, stop = Provider(KEY, stripe.url, timeout_seconds=60), asyncio.Event()
    running = asyncio.create_task(OverageReporter(provider, database, 300).run(stop))
    async with asyncio.timeout(30):
        while not stripe.taken:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await running
    await provider.aclose()
    doubt = "SELECT doubt_since IS NOT NULL FROM stripe_meter_events"
    assert await connection.fetchval(doubt)


async def test_an_unreachable_stripe_leaves_no_doubt(
    connection: asyncpg.Connection, database: Database
) -> None:
    await billed_account(connection)
    await use(connection, 120)
    provider = Provider(KEY, "http://127.0.0.1:9")
    await OverageReporter(provider, database, 300).report()
    await provider.aclose()
    row = await connection.fetchrow("SELECT doubt_since, last_error FROM stripe_meter_events")
    assert row is not None
    assert (row["doubt_since"], row["last_error"]) == (None, "no answer (ConnectError)")
