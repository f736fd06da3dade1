"""Plans, subscriptions and new users: what holds for an account, and that the ledger is told."""

import asyncio

import asyncpg
import pytest

from meter.ledger.types import UNLIMITED, AccountFigures, AccountLimits
from meter.terms import DEFAULT_TERMS, Terms
from meter.thresholds import Threshold, ThresholdKind
from persistence.database import Database
from persistence.limits import set_limit
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from tests.persistence.builders import NOW
from tests.persistence.test_limits import ToldLedger

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger() -> ToldLedger:
    return ToldLedger()


@pytest.fixture
def teller(ledger: ToldLedger, database: Database) -> LimitsTeller:
    return LimitsTeller(ledger, database)


async def load(
    storage: PostgresStorage, organization_id: str = "org_1", user_id: str = "user_1"
) -> AccountFigures:
    return await storage.load_account(organization_id, user_id, NOW, with_live=False)


async def subscribe(connection: asyncpg.Connection, plan: str, organization: str = "org_1") -> None:
    await connection.execute(
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", organization
    )
    await connection.execute(
        "UPDATE user_subscriptions SET status = 'canceled', ended_at = now() "
        "WHERE organization_id = $1 AND ended_at IS NULL",
        organization,
    )
    await connection.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ($1, $2)",
        organization,
        plan,
    )


async def told(teller: LimitsTeller, ledger: ToldLedger) -> list[AccountLimits]:
    ledger.told.clear()
    await teller.tell()
    return list(ledger.told)


async def test_the_plans_are_those_that_users_know(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT plans.name, price_cents, usage_type, limit_value "
        "FROM plans JOIN plan_limits ON plan_id = plans.id"
    )
    assert {(row["name"], row["price_cents"]) for row in rows} == {
        ("Starter", 3000),
        ("Professional", 5000),
        ("Premium", 9900),
    }
    limits = {(row["name"], row["usage_type"]): row["limit_value"] for row in rows}
    assert limits["Starter", "minutes_per_month"] == 300
    assert limits["Professional", "video_review_per_month"] == 10
    assert limits["Premium", "interviews_per_day"] == -1
    assert limits["Premium", "advanced_analytics"] == 1


async def test_a_new_user_gets_the_starter_plan(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    accounts = await asyncio.gather(*(load(storage, "alice", "alice") for _ in range(5)))
    assert {account.organization_limit for account in accounts} == {300 * 60}
    assert await connection.fetchval("SELECT count(*) FROM users") == 1
    assert await connection.fetchval("SELECT plan_id FROM user_subscriptions") == "starter"


async def test_a_user_who_is_known_keeps_their_plan(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await load(storage, "alice", "alice")
    await subscribe(connection, "premium", "alice")
    assert (await load(storage, "alice", "alice")).organization_limit == 2500 * 60
    await connection.execute("SELECT ensure_user_exists('alice', 'a@example.com')")
    assert (await load(storage, "alice", "alice")).organization_limit == 2500 * 60


async def test_a_personal_account_whose_subscription_has_ended_is_on_the_default_plan(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await load(storage, "alice", "alice")
    await subscribe(connection, "premium", "alice")
    await connection.execute(
        "UPDATE user_subscriptions SET status = 'canceled', ended_at = now() WHERE ended_at IS NULL"
    )
    assert (await load(storage, "alice", "alice")).organization_limit == 300 * 60
    await subscribe(connection, "premium")
    await connection.execute("DELETE FROM user_subscriptions")
    assert (await load(storage)).organization_limit == UNLIMITED  # an organization's


async def test_a_member_of_an_organization_is_not_held_to_a_plan_of_their_own(
    storage: PostgresStorage,
) -> None:
    await load(storage, "alice", "alice")
    account = await load(storage, "org_1", "alice")
    assert (account.organization_limit, account.member_limit) == (UNLIMITED, UNLIMITED)


async def test_without_a_default_plan_new_users_are_unlimited(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await connection.execute("UPDATE plans SET is_default = false")
    assert (await load(storage, "alice", "alice")).organization_limit == UNLIMITED


async def test_an_own_limit_holds_before_the_plans_also_an_unlimited_one(
    storage: PostgresStorage, connection: asyncpg.Connection, database_url: str
) -> None:
    await subscribe(connection, "starter")
    assert (await load(storage)).organization_limit == 300 * 60
    await set_limit(database_url, "org_1", None, 60)
    assert (await load(storage)).organization_limit == 60
    await set_limit(database_url, "org_1", None, None)
    assert (await load(storage)).organization_limit == UNLIMITED
    await connection.execute("UPDATE organizations SET monthly_audio_hours_limit = NULL")
    assert (await load(storage)).organization_limit == 300 * 60


@pytest.mark.parametrize(("value", "limit"), [(-1, UNLIMITED), (None, UNLIMITED), (0, 0), (2, 120)])
async def test_minus_one_and_null_are_unlimited_and_nought_is_nothing(
    storage: PostgresStorage, connection: asyncpg.Connection, value: int | None, limit: int
) -> None:
    await subscribe(connection, "starter")
    await connection.execute(
        "UPDATE plan_limits SET limit_value = $1 WHERE usage_type = 'minutes_per_month'", value
    )
    assert (await load(storage)).organization_limit == limit


async def test_a_plan_without_minutes_has_none(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await subscribe(connection, "starter")
    await connection.execute("DELETE FROM plan_limits")
    assert (await load(storage)).organization_limit == 0


async def test_a_plans_policies_are_the_accounts_terms(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "INSERT INTO plans (id, name, soft_cap, overage_ceiling_seconds, grace_seconds, "
        "grace_is_overage, max_concurrent_sessions, max_session_seconds, warn_minutes_remaining, "
        "warn_percent_used) "
        "VALUES ('p', 'P', true, 600, 30, true, 5, 3600, '{1,15,1}', '{120,50}')"
    )
    await subscribe(connection, "p")
    minutes, percent = ThresholdKind.REMAINING_MINUTES, ThresholdKind.PERCENT
    assert (await load(storage)).terms == Terms(
        overage_seconds=600,
        most_sessions=5,
        longest_seconds=3600,
        grace_seconds=30,
        grace_is_overage=True,
        thresholds=(
            Threshold(minutes, 15),
            Threshold(minutes, 1),
            Threshold(percent, 50),
            Threshold(percent, 120),
        ),
    )
    await connection.execute("UPDATE plans SET soft_cap = false, max_concurrent_sessions = -1")
    terms = (await load(storage)).terms
    assert (terms.overage_seconds, terms.most_sessions) == (0, UNLIMITED)


async def test_the_plans_at_first_have_the_default_terms(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await subscribe(connection, "professional")
    assert (await load(storage)).terms == DEFAULT_TERMS


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE plans SET grace_seconds = 77 WHERE id = 'starter'",
        "UPDATE plan_limits SET limit_value = 7 "
        "WHERE usage_type = 'minutes_per_month' AND plan_id = 'starter'",
        "DELETE FROM plan_limits WHERE plan_id = 'starter'",
        "INSERT INTO plan_limits VALUES ('starter', 'advanced_analytics', 1)",
        "UPDATE user_subscriptions SET plan_id = 'premium'",
        "UPDATE user_subscriptions SET status = 'expired', ended_at = now()",
        "DELETE FROM user_subscriptions",
        "TRUNCATE plan_limits",
        "TRUNCATE user_subscriptions",
        "UPDATE plans SET id = 'beginner' WHERE id = 'starter'",
    ],
)
async def test_every_change_of_a_plan_is_told_for_each_account_that_has_it(
    teller: LimitsTeller, ledger: ToldLedger, connection: asyncpg.Connection, change: str
) -> None:
    await subscribe(connection, "starter", "org_1")
    await subscribe(connection, "starter", "org_2")
    before = {each.organization_id: each.version for each in await told(teller, ledger)}
    assert before.keys() == {"org_1", "org_2"}
    await connection.execute(change)
    after = {each.organization_id: each.version for each in await told(teller, ledger)}
    assert {name: after[name] > version for name, version in before.items()} == {
        "org_1": True,
        "org_2": True,
    }


async def test_a_change_of_another_plan_is_told_nobody(
    teller: LimitsTeller, ledger: ToldLedger, connection: asyncpg.Connection
) -> None:
    await subscribe(connection, "starter")
    await told(teller, ledger)
    await connection.execute("UPDATE plans SET grace_seconds = 77 WHERE id = 'premium'")
    await connection.execute("UPDATE plans SET name = name")
    assert await told(teller, ledger) == []


async def test_what_is_told_is_the_plans_limit_and_its_terms(
    teller: LimitsTeller, ledger: ToldLedger, connection: asyncpg.Connection
) -> None:
    await subscribe(connection, "starter")
    await connection.execute("UPDATE plans SET max_concurrent_sessions = 2")
    (limits,) = await told(teller, ledger)
    assert (limits.organization_limit, limits.terms) == (300 * 60, Terms(most_sessions=2))


@pytest.mark.parametrize(
    "bad",
    [
        "UPDATE plans SET billing_increment = '60'",
        "UPDATE plans SET billing_increment = '0/1'",
        "UPDATE plans SET billing_increment = '90000/1'",
        "UPDATE plans SET billing_rounding = 'never'",
        "UPDATE plans SET warn_percent_used = '{0}'",
        "UPDATE plans SET warn_minutes_remaining = '{1,NULL}'",
        "UPDATE plans SET grace_is_overage = true",
        "UPDATE plans SET max_concurrent_sessions = 0",
        "UPDATE plans SET overage_ceiling_seconds = -2",
        "UPDATE plan_limits SET limit_value = -2",
        "UPDATE organizations SET time_zone = 'Mars/Olympus'",
        "UPDATE organizations SET time_zone = 'EST5EDT4'",
        "UPDATE user_subscriptions SET status = 'canceled'",
    ],
)
async def test_what_no_plan_can_mean_is_refused(connection: asyncpg.Connection, bad: str) -> None:
    await subscribe(connection, "starter")
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(bad)


async def test_there_is_one_default_plan_and_an_account_has_one_plan_at_a_time(
    connection: asyncpg.Connection,
) -> None:
    await subscribe(connection, "starter")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("UPDATE plans SET is_default = true WHERE id = 'premium'")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(
            "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ('org_1', 'premium')"
        )
