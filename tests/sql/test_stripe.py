"""Subscriptions that follow Stripe's events, and the chain of reported overage minutes."""

import asyncio
import itertools
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from tests.payments.events import ANCHOR, checkout, subscription, told
from tests.sql.accounts import record

pytestmark = pytest.mark.integration

Event = dict[str, Any]


async def take(db: asyncpg.Connection, event: Event) -> tuple[str, str | None]:
    row = await db.fetchrow(
        "SELECT * FROM take_stripe_event($1, $2, to_timestamp($3::bigint), $4, $5)",
        event["id"],
        event["type"],
        event["created"],
        json.dumps(event["data"]["object"]),
        json.dumps(event["data"].get("previous_attributes", {})),
    )
    assert row is not None
    return row["outcome"], row["reason"]


async def plan(db: asyncpg.Connection, organization: str = "acme") -> tuple[str, str] | None:
    row = await db.fetchrow(
        "SELECT plan_id, status FROM user_subscriptions"
        " WHERE organization_id = $1 AND ended_at IS NULL",
        organization,
    )
    return None if row is None else (row["plan_id"], row["status"])


@pytest.fixture(autouse=True)
async def prices(db: asyncpg.Connection) -> None:
    await db.execute("UPDATE plans SET stripe_price_id = 'price_pro' WHERE id = 'professional'")
    await db.execute("UPDATE plans SET stripe_price_id = 'price_prem' WHERE id = 'premium'")
    await db.execute("INSERT INTO organizations (id, stripe_customer_id) VALUES ('acme', 'cus_1')")


@pytest.mark.parametrize("status", ["trialing", "active", "past_due"])
async def test_a_subscription_gives_its_plan_while_stripe_trusts_in_it(
    db: asyncpg.Connection, status: str
) -> None:
    assert await take(db, told("created", subscription(status=status))) == ("applied", None)
    assert await plan(db) == ("professional", status)


@pytest.mark.parametrize(
    ("status", "ours"),
    [("canceled", "canceled"), ("unpaid", "expired"), ("paused", "expired")],
)
async def test_one_that_ended_falls_back_to_the_default_plan(
    db: asyncpg.Connection, status: str, ours: str
) -> None:
    await take(db, told("created", subscription(), 1000))
    await take(db, told("updated", subscription(status=status), 1001))
    assert await plan(db) == ("starter", "active")
    ended = "SELECT status FROM user_subscriptions WHERE stripe_subscription_id = 'sub_1'"
    assert await db.fetchval(ended) == ours
    await take(db, told("updated", subscription(), 1002))
    expected = ("starter", "active") if status == "canceled" else ("professional", "active")
    assert await plan(db) == expected


async def test_one_that_was_never_paid_changes_nothing(db: asyncpg.Connection) -> None:
    await take(db, told("created", subscription(status="incomplete")))
    assert await plan(db) is None
    await take(db, told("updated", subscription(status="incomplete_expired")))
    assert await plan(db) is None


async def test_a_personal_account_falls_back_too_and_its_profile_has_both_ids(
    db: asyncpg.Connection,
) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    await take(db, checkout("ann", "cus_ann"))
    await take(db, told("created", subscription("sub_a", "cus_ann"), 1000))
    profile = "SELECT stripe_customer_id, stripe_subscription_id FROM profiles"
    row = await db.fetchrow(profile)
    assert row is not None
    assert tuple(row) == ("cus_ann", "sub_a")
    assert await plan(db, "ann") == ("professional", "active")
    await take(db, told("deleted", subscription("sub_a", "cus_ann", status="canceled"), 1001))
    assert await db.fetchval("SELECT plan_id FROM account_terms('ann', 'ann')") == "starter"
    assert await db.fetchval("SELECT stripe_subscription_id FROM profiles") is None


async def test_a_customer_who_is_set_in_a_profile_is_the_personal_accounts(
    db: asyncpg.Connection,
) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    await take(db, told("created", subscription("sub_a", "cus_ann")))
    await db.execute("UPDATE profiles SET stripe_customer_id = 'cus_ann'")
    assert await plan(db, "ann") == ("professional", "active")


async def test_the_same_event_changes_something_once(db: asyncpg.Connection) -> None:
    event = told("created", subscription())
    assert await take(db, event) == ("applied", None)
    before = await db.fetch("SELECT xmin, * FROM user_subscriptions")
    assert await take(db, event) == ("duplicate", None)
    assert await db.fetch("SELECT xmin, * FROM user_subscriptions") == before
    assert await db.fetchval("SELECT count(*) FROM stripe_events") == 1


async def test_in_any_order_the_newest_state_holds(db: asyncpg.Connection) -> None:
    """Also within a second, where a change names what was before it."""
    story = [
        told("created", subscription(status="incomplete"), 1000),
        told("updated", subscription(status="active"), 1000, previous={"status": "incomplete"}),
        told("updated", subscription(status="past_due"), 1001, previous={"status": "active"}),
        told("updated", subscription(price="price_prem", status="past_due"), 1001),
    ]
    story[3]["data"]["previous_attributes"] = {"items": story[2]["data"]["object"]["items"]}
    for number, order in enumerate(itertools.permutations(range(4))):
        customer, name = f"cus_o{number}", f"sub_o{number}"
        await db.execute(
            "INSERT INTO organizations (id, stripe_customer_id) VALUES ($1, $1)", customer
        )
        for place in order:
            event = json.loads(json.dumps(story[place]))
            event["id"] += name
            event["data"]["object"] |= {"id": name, "customer": customer}
            await take(db, event)
        assert await plan(db, customer) == ("premium", "past_due"), order


async def test_an_older_event_is_stale_whatever_it_says(db: asyncpg.Connection) -> None:
    await take(db, told("updated", subscription(), 1002))
    older = told("updated", subscription(price="price_prem", status="past_due"), 1001)
    assert await take(db, older) == ("stale", None)
    assert await take(db, told("created", subscription(status="trialing"), 1002)) == (
        "stale",
        None,
    )
    assert await plan(db) == ("professional", "active")


async def test_nothing_comes_after_an_end(db: asyncpg.Connection) -> None:
    story = [
        told("created", subscription(), 1000),
        told("updated", subscription(price="price_prem"), 1002),
        told("deleted", subscription(status="canceled"), 1001),
    ]
    for number, order in enumerate(itertools.permutations(story)):
        customer = f"cus_e{number}"
        await db.execute(
            "INSERT INTO organizations (id, stripe_customer_id) VALUES ($1, $1)", customer
        )
        for event in order:
            made = event["data"]["object"] | {"id": f"sub_e{number}", "customer": customer}
            copy = event | {"id": f"{event['id']}{number}", "data": {"object": made}}
            await take(db, copy)
        # Without a subscription that held in between there is nothing to fall back from.
        assert (await plan(db, customer)) in (None, ("starter", "active"))


async def test_an_unknown_customer_is_matched_when_the_checkout_tells_of_it(
    db: asyncpg.Connection,
) -> None:
    event = told("created", subscription("sub_9", "cus_9"))
    assert await take(db, event) == ("unmatched", "unknown_customer")
    unmatched = "SELECT id, reason FROM stripe_unmatched"
    assert [tuple(row) for row in await db.fetch(unmatched)] == [("sub_9", "unknown_customer")]
    assert await take(db, checkout("globex", "cus_9")) == ("applied", None)
    assert await plan(db, "globex") == ("professional", "active")
    assert await db.fetch(unmatched) == []


async def test_metadata_names_the_account_too(db: asyncpg.Connection) -> None:
    made = subscription("sub_9", "cus_9", metadata={"organization_id": "globex"})
    assert await take(db, told("created", made)) == ("applied", None)
    assert await plan(db, "globex") == ("professional", "active")


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (
            told("created", subscription("sub_9", "cus_9")),
            "UPDATE organizations SET stripe_customer_id = 'cus_9' WHERE id = 'acme'",
        ),
        (
            told("created", subscription(price="price_new")),
            "UPDATE plans SET stripe_price_id = 'price_new' WHERE id = 'professional'",
        ),
        (
            told("created", subscription("sub_9", "cus_9")),
            "UPDATE profiles SET stripe_customer_id = 'cus_9'",
        ),
    ],
)
async def test_what_becomes_known_while_an_event_is_taken_is_matched(
    db: asyncpg.Connection, sql_url: str, event: Event, change: str
) -> None:
    await db.execute("UPDATE organizations SET stripe_customer_id = 'cus_2' WHERE id = 'acme'")
    await db.execute("UPDATE organizations SET stripe_customer_id = 'cus_1' WHERE id = 'acme'")
    await db.execute("SELECT ensure_user_exists('acme')")
    other = await asyncpg.connect(sql_url)
    taking = db.transaction()
    await taking.start()
    assert (await take(db, event))[0] == "unmatched"
    changing = asyncio.create_task(other.execute(change))
    await asyncio.sleep(0.2)
    assert not changing.done()
    await taking.commit()
    await changing
    await other.close()
    assert await plan(db) == ("professional", "active")


async def test_an_account_keeps_the_customer_it_has(db: asyncpg.Connection) -> None:
    assert await take(db, checkout("acme", "cus_9")) == ("unmatched", "other_customer")
    customer = "SELECT stripe_customer_id FROM organizations WHERE id = 'acme'"
    assert await db.fetchval(customer) == "cus_1"


async def test_an_unknown_price_keeps_what_there_is_and_is_matched_when_a_plan_gets_it(
    db: asyncpg.Connection,
) -> None:
    await take(db, told("created", subscription(), 1000))
    event = told("updated", subscription(price="price_new"), 1001)
    assert await take(db, event) == ("unmatched", "unknown_price")
    assert await plan(db) == ("professional", "active")
    await db.execute("UPDATE plans SET stripe_price_id = 'price_new' WHERE id = 'premium'")
    assert await plan(db) == ("premium", "active")


async def test_of_several_subscriptions_the_newest_holds_and_then_the_other_one(
    db: asyncpg.Connection,
) -> None:
    await take(db, told("created", subscription("sub_1"), 1000))
    newer = subscription("sub_2", price="price_prem", created=ANCHOR + 1)
    await take(db, told("created", newer, 1001))
    assert await plan(db) == ("premium", "active")
    await take(db, told("deleted", newer | {"status": "canceled"}, 1002))
    assert await plan(db) == ("professional", "active")


async def test_the_anchor_is_the_day_on_which_periods_turn_from_the_next_one_on(
    db: asyncpg.Connection,
) -> None:
    await record(db, "acme", "ann", 60)
    await take(db, told("created", subscription()))
    row = await db.fetchrow("SELECT * FROM account_cycle('acme')")
    assert row is not None
    assert row["anchor_day"] == datetime.fromtimestamp(ANCHOR, UTC).day == 10
    present = await db.fetchrow("SELECT * FROM account_period('acme')")
    assert present is not None
    assert (present["period_start"].day, present["period_end"].day) == (1, 1)
    following = await db.fetchval(
        "SELECT p.period_end FROM account_period('acme', $1) AS p", present["period_end"]
    )
    assert following.day == 10
    await take(db, told("updated", subscription(billing_cycle_anchor=ANCHOR + 86_400)))
    row = await db.fetchrow("SELECT * FROM account_cycle('acme')")
    assert row is not None
    assert row["anchor_day"] == 11


async def test_weekly_prices_leave_calendar_months(db: asyncpg.Connection) -> None:
    made = subscription()
    made["items"]["data"][0]["price"]["recurring"]["interval"] = "week"
    await take(db, told("created", made))
    cycle = "SELECT billing_cycle FROM user_subscriptions WHERE ended_at IS NULL"
    assert await db.fetchval(cycle) == "calendar"


async def test_other_events_are_kept_and_change_nothing(db: asyncpg.Connection) -> None:
    event = told("created", subscription()) | {"type": "invoice.paid"}
    assert await take(db, event) == ("ignored", None)
    assert await plan(db) is None
