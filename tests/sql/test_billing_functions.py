"""System B: users, plans and features, and the calls that use them up."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from persistence.writer import write
from tests.calm import calm_zone
from tests.persistence.builders import FULL, THIS_MINUTE, due, session_id
from tests.sql.accounts import adjust, limit_organization, noon, record, row_of, subscribe, track

pytestmark = pytest.mark.integration

ANALYSES = "detailed_analysis_per_month"
REVIEWS = "video_review_per_month"


async def used(db: asyncpg.Connection, usage_type: str = ANALYSES) -> int:
    """What the counts and the events agree on."""
    counted = await db.fetchval(
        "SELECT coalesce(sum(amount), 0) FROM feature_usage WHERE usage_type = $1", usage_type
    )
    assert counted == await db.fetchval(
        "SELECT coalesce(sum(amount), 0) FROM feature_events WHERE usage_type = $1", usage_type
    )
    return int(counted)


async def may(db: asyncpg.Connection, *arguments: object) -> bool:
    return bool(await call(db, "can_use_feature", *arguments))


async def call(db: asyncpg.Connection, function: str, *arguments: object) -> object:
    places = ", ".join(f"${place}" for place in range(1, len(arguments) + 1))
    return await db.fetchval(f"SELECT {function}({places})", *arguments)


async def test_table_interview_sessions_is_linked_to_its_user_by_a_trigger(
    db: asyncpg.Connection,
) -> None:
    user = await call(db, "ensure_user_exists", "ann")
    await record(db, "ann", "ann", 60)
    await record(db, "acme", "ann", 60)
    assert await db.fetchval("SELECT array_agg(user_uuid) FROM interview_sessions") == [user, user]


async def test_sessions_of_a_user_who_is_made_later_are_linked_then(
    db: asyncpg.Connection,
) -> None:
    await record(db, "acme", "ann", 60)
    await record(db, "acme", "bob", 60)
    assert await db.fetchval("SELECT count(user_uuid) FROM interview_sessions") == 0
    user = await call(db, "ensure_user_exists", "ann")
    linked = await db.fetch("SELECT user_id, user_uuid FROM interview_sessions ORDER BY user_id")
    assert [tuple(row) for row in linked] == [("ann", user), ("bob", None)]


async def test_a_session_that_missed_its_user_is_linked_when_its_row_changes(
    db: asyncpg.Connection,
) -> None:
    await record(db, "acme", "ann", 60, ended=False)
    user = await call(db, "ensure_user_exists", "ann")
    await db.execute("UPDATE interview_sessions SET user_uuid = NULL")
    await db.execute("UPDATE interview_sessions SET seconds_recorded = 61")
    assert await db.fetchval("SELECT user_uuid FROM interview_sessions") is None
    await db.execute("UPDATE interview_sessions SET revision = 2")
    assert await db.fetchval("SELECT user_uuid FROM interview_sessions") == user


async def test_sessions_are_written_while_their_user_is_being_deleted(
    db: asyncpg.Connection, sql_url: str
) -> None:
    await call(db, "ensure_user_exists", "ann")
    other = await asyncpg.connect(sql_url)
    deletion = other.transaction()
    await deletion.start()
    await other.execute("DELETE FROM users")
    await db.execute("SET lock_timeout = '2s'")
    await record(db, "acme", "ann", 60)
    await deletion.commit()
    await other.close()
    assert await db.fetchval("SELECT user_uuid FROM interview_sessions") is None


async def test_writers_of_sessions_never_fail_for_users_who_come_and_go(sql_url: str) -> None:
    names = [f"user {number}" for number in range(6)]
    # Nobody waits for a deadlock to be found without an error.
    settings = {"deadlock_timeout": "10ms", "timezone": "UTC"}

    async def flush(organization: str) -> None:
        connection = await asyncpg.connect(sql_url, server_settings=settings)
        sessions = [session_id() for _ in range(12)]
        for turn in range(15):
            batch = [
                due(
                    (THIS_MINUTE + turn, FULL),
                    session=session if number % 3 else None,
                    organization=organization,
                    user=names[number % len(names)],
                    revision=turn + 1,
                )
                for number, session in enumerate(sessions)
            ]
            await write(connection, batch)
        await connection.close()

    async def come_and_go() -> None:
        connection = await asyncpg.connect(sql_url, server_settings=settings)
        for turn in range(40):
            name = names[turn % len(names)]
            async with connection.transaction():
                await call(connection, "ensure_user_exists", name)
                await call(connection, "ensure_user_exists", names[(turn * 5 + 1) % len(names)])
            with suppress(asyncpg.ForeignKeyViolationError):
                await connection.execute("DELETE FROM users WHERE clerk_id = $1", name)
        await connection.close()

    await asyncio.gather(flush("acme"), flush("other"), come_and_go())
    connection = await asyncpg.connect(sql_url)
    count = await connection.fetchval("SELECT count(*) FROM usage_tracking")
    await connection.close()
    assert count == 2 * 15 * 12


async def test_a_user_who_recorded_is_not_deleted(db: asyncpg.Connection) -> None:
    await call(db, "ensure_user_exists", "ann")
    await record(db, "ann", "ann", 60)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM users")


async def test_function_ensure_user_exists_makes_a_user_once(db: asyncpg.Connection) -> None:
    first = await call(db, "ensure_user_exists", "ann", "ann@example.com")
    assert await call(db, "ensure_user_exists", "ann", "new@example.com") == first
    assert await db.fetchval("SELECT email FROM users") == "new@example.com"


async def test_function_create_default_subscription_gives_the_starter_plan(
    db: asyncpg.Connection,
) -> None:
    await call(db, "ensure_user_exists", "ann")
    first = await db.fetchval("SELECT id FROM user_subscriptions WHERE plan_id = 'starter'")
    assert await call(db, "create_default_subscription", "ann") == first


async def test_function_can_use_feature_asks_for_room(db: asyncpg.Connection) -> None:
    await call(db, "ensure_user_exists", "ann")
    assert await may(db, "ann", ANALYSES, 5)
    assert not await may(db, "ann", ANALYSES, 6)
    assert not await may(db, "ann", REVIEWS, 1)
    assert not await may(db, "ann", "never heard of", 1)
    assert await may(db, "ann", "minutes_per_month", 300)
    assert not await may(db, "ann", "minutes_per_month", 301)
    assert not await may(db, "ann", ANALYSES, -1)
    assert await used(db) == 0


async def test_what_is_access_is_not_used_up(db: asyncpg.Connection) -> None:
    await subscribe(db, "ann", "premium")
    for _ in range(3):
        assert await may(db, "ann", "advanced_analytics", 1)
        assert await call(db, "track_usage", "ann", "advanced_analytics", 1)
    await subscribe(db, "ann", "starter")
    assert not await may(db, "ann", "advanced_analytics", 1)


async def test_without_a_plan_nothing_is_limited(db: asyncpg.Connection) -> None:
    answer = await track(db, "ann", {REVIEWS: 1000}, organization="acme")
    assert (answer["allowed"], answer["usages"][0]["unlimited"]) == (True, True)


async def test_function_track_usage_takes_what_there_is_and_no_more(
    db: asyncpg.Connection,
) -> None:
    assert await call(db, "track_usage", "ann", ANALYSES, 3)
    assert not await call(db, "track_usage", "ann", ANALYSES, 3)
    assert await call(db, "track_usage", "ann", ANALYSES, 2)
    assert not await call(db, "track_usage", "ann", ANALYSES, 1)
    assert await used(db) == 5


async def test_of_a_hundred_calls_at_once_on_ten_that_are_left_ten_succeed(
    db: asyncpg.Connection, sql_url: str
) -> None:
    await subscribe(db, "acme", "starter")
    await db.execute("UPDATE plan_limits SET limit_value = 13")
    assert (await track(db, "ann", {ANALYSES: 3}, organization="acme"))["allowed"]
    async with asyncpg.create_pool(sql_url, min_size=10, max_size=10) as pool:
        answers = await asyncio.gather(
            *(
                pool.fetchval(
                    "SELECT track_usage($1, $2, 1, NULL, 'acme')", f"user {number % 7}", ANALYSES
                )
                for number in range(100)
            )
        )
    assert answers.count(True) == 10
    assert await used(db) == 13


async def test_a_call_made_again_with_its_key_takes_nothing_and_has_the_same_answer(
    db: asyncpg.Connection, sql_url: str
) -> None:
    async with asyncpg.create_pool(sql_url, min_size=5, max_size=5) as pool:
        answers = await asyncio.gather(
            *(
                pool.fetchval(f"SELECT track_usages('ann', '{{\"{ANALYSES}\": 2}}', 'key')")
                for _ in range(10)
            )
        )
    assert len(set(answers)) == 1
    assert await used(db) == 2
    assert not await call(db, "track_usage", "ann", ANALYSES, 4, "refused")
    await subscribe(db, "ann", "premium")
    assert not await call(db, "track_usage", "ann", ANALYSES, 4, "refused")
    with pytest.raises(asyncpg.UniqueViolationError, match="another call"):
        await call(db, "track_usage", "ann", ANALYSES, 1, "key")
    # Keys are each account's own.
    assert await call(db, "track_usage", "bob", ANALYSES, 1, "key")


async def test_calls_record_usage_of_several_kinds_in_one_call_all_or_none(
    db: asyncpg.Connection,
) -> None:
    await subscribe(db, "ann", "professional")
    asked = [{"usage_type": ANALYSES, "amount": 2}, {"usage_type": REVIEWS, "amount": 10}]
    answer = await track(db, "ann", asked)
    assert answer["allowed"]
    assert [(each["usage_type"], each["remaining"]) for each in answer["usages"]] == [
        (ANALYSES, 23),
        (REVIEWS, 0),
    ]
    answer = await track(db, "ann", {ANALYSES: 1, REVIEWS: 1, "minutes_per_month": 5})
    assert not answer["allowed"]
    assert (await used(db), await used(db, REVIEWS)) == (2, 10)
    assert await db.fetchval("SELECT count(*) FROM usage_tracking") == 0


@pytest.mark.parametrize(
    ("usages", "error"),
    [
        ({"never heard of": 1}, asyncpg.ForeignKeyViolationError),
        ({ANALYSES: 0}, asyncpg.CheckViolationError),
        ({ANALYSES: -1}, asyncpg.CheckViolationError),
        ({ANALYSES: 1.5}, asyncpg.CheckViolationError),
        ({ANALYSES: "1"}, asyncpg.CheckViolationError),
        ({ANALYSES: None}, asyncpg.CheckViolationError),
        ({ANALYSES: 1e12}, asyncpg.CheckViolationError),
        ({}, asyncpg.CheckViolationError),
        ([{}], asyncpg.ForeignKeyViolationError),
        (1, asyncpg.CheckViolationError),
    ],
)
async def test_what_cannot_be_used_is_an_error(
    db: asyncpg.Connection, usages: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await track(db, "ann", usages)


async def test_function_track_interview_session_counts_an_interview_and_its_seconds(
    db: asyncpg.Connection,
) -> None:
    assert await call(db, "track_interview_session", "ann", 12.5)
    session = await row_of(db, "SELECT * FROM interview_sessions")
    assert (session["seconds_recorded"], session["kind"]) == (750, "interview")
    assert session["ended_at"] - session["started_at"] == timedelta(seconds=750)
    masks = await db.fetchval("SELECT sum(bit_count(seconds_mask::bit(60))) FROM usage_tracking")
    assert masks == 750
    assert await used(db, "interviews_per_day") == 1
    assert not await call(db, "track_interview_session", "ann", 300)
    for _ in range(2):
        assert await call(db, "track_interview_session", "ann", 1)
    assert not await call(db, "track_interview_session", "ann", 1)
    assert await db.fetchval("SELECT count(*) FROM interview_sessions") == 3


async def test_minutes_that_come_as_a_number_are_told_to_the_ledger(
    db: asyncpg.Connection,
) -> None:
    await call(db, "ensure_user_exists", "ann")
    before = await db.fetchval("SELECT version FROM limit_changes")
    await call(db, "track_usage", "ann", "minutes_per_month", 1)
    assert await db.fetchval("SELECT version FROM limit_changes") > before


async def test_function_check_usage_limit_has_a_form_with_a_type_and_an_amount(
    db: asyncpg.Connection,
) -> None:
    await call(db, "track_usage", "ann", ANALYSES, 3)
    found = await row_of(db, "SELECT * FROM check_usage_limit('ann', $1, 3)", ANALYSES)
    assert tuple(found)[:5] == (False, 3, 5, 2, False)
    assert (await row_of(db, "SELECT * FROM check_usage_limit('ann', 'ann')"))["can_record"]
    assert await db.fetch("SELECT * FROM check_usage_limit('ann', 'never heard of', 1)") == []


async def test_function_check_usage_limit_without_an_amount_is_of_a_usage_type_by_its_name(
    db: asyncpg.Connection,
) -> None:
    """1 of it, on the personal account; any other second text is an organization."""
    await call(db, "track_usage", "ann", ANALYSES, 4)
    asked = "SELECT * FROM check_usage_limit('ann', $1)"
    names = ("allowed", "current_usage", "limit_value", "remaining", "unlimited", "can_record")
    found = await row_of(db, asked, ANALYSES)
    assert [found[name] for name in names] == [True, 4, 5, 1, False, None]
    whole = await row_of(db, "SELECT * FROM check_usage_limit('ann', $1, 1)", ANALYSES)
    assert {name: found[name] for name in whole.keys()} == dict(whole)  # noqa: SIM118
    await call(db, "track_usage", "ann", ANALYSES, 1)
    found = await row_of(db, asked, ANALYSES)
    assert [found[name] for name in names] == [False, 5, 5, 0, False, None]
    await record(db, "ann", "ann", 61)
    found = await row_of(db, asked, "minutes_per_month")
    assert [found[name] for name in names] == [True, 2, 300, 298, False, True]
    assert (found["minutes_used"], found["scope"]) == (2, "organization")
    found = await row_of(db, asked, "acme")
    assert [found[name] for name in names] == [True, 0, None, None, True, True]


async def test_function_check_usage_limit_is_of_an_organization_that_is_named_like_a_usage_type(
    db: asyncpg.Connection,
) -> None:
    asked = "SELECT limit_seconds, used_seconds FROM check_usage_limit('ann', $1)"
    await limit_organization(db, ANALYSES, 1)
    assert tuple(await row_of(db, asked, ANALYSES)) == (3600, 0)
    await record(db, "interviews_per_day", "ann", 60)
    assert tuple(await row_of(db, asked, "interviews_per_day")) == (None, 60)


async def test_function_get_user_usage_summary_has_every_type(db: asyncpg.Connection) -> None:
    await db.execute("INSERT INTO organizations (id, time_zone) VALUES ('ann', $1)", calm_zone())
    await call(db, "track_interview_session", "ann", 30)
    rows = await db.fetch("SELECT * FROM get_user_usage_summary('ann')")
    found = {row["usage_type"]: row for row in rows}
    minutes = found["minutes_per_month"]
    assert (minutes["current_usage"], minutes["remaining"]) == (30, 270)
    assert minutes["percentage_used"] == 10
    assert found["interviews_per_day"]["percentage_used"] == Decimal("33.3")
    assert found["advanced_analytics"]["percentage_used"] is None


async def test_function_get_user_subscription_info_tells_of_the_plan(
    db: asyncpg.Connection,
) -> None:
    assert await db.fetch("SELECT * FROM get_user_subscription_info('ann')") == []
    await subscribe(db, "ann", "professional")
    row = await row_of(db, "SELECT * FROM get_user_subscription_info('ann')")
    assert (row["plan_name"], row["price_cents"], row["status"]) == ("Professional", 5000, "active")
    assert row["current_period_start"] <= datetime.now(UTC) < row["current_period_end"]
    await subscribe(db, "acme", "premium")
    found = await db.fetchval("SELECT plan_id FROM get_user_subscription_info('ann', 'acme')")
    assert found == "premium"


async def test_view_user_current_limits_has_every_user_as_of_now(db: asyncpg.Connection) -> None:
    await call(db, "track_usage", "ann", ANALYSES, 3)
    await call(db, "ensure_user_exists", "bob")
    await subscribe(db, "bob", "premium")
    rows = await db.fetch("SELECT * FROM user_current_limits WHERE usage_type = $1", ANALYSES)
    found = {row["clerk_id"]: (row["limit_value"], row["remaining"]) for row in rows}
    assert found == {"ann": (5, 2), "bob": (None, None)}


async def test_view_user_usage_has_usage_by_type_and_period(db: asyncpg.Connection) -> None:
    await call(db, "track_usage", "ann", ANALYSES, 3)
    await record(db, "ann", "ann", 90)
    rows = await db.fetch("SELECT * FROM user_usage ORDER BY usage_type")
    assert [(row["usage_type"], row["usage_value"]) for row in rows] == [
        (ANALYSES, 3),
        ("minutes_per_month", 2),
    ]
    assert rows[0]["period_start"] == rows[1]["period_start"] == noon().replace(day=1, hour=0)
    await adjust(db, "ann", -90, "ann")
    value = "SELECT usage_value FROM user_usage WHERE usage_type = 'minutes_per_month'"
    assert await db.fetchval(value) == 0


async def test_new_usage_types_are_rows(db: asyncpg.Connection) -> None:
    await db.execute("INSERT INTO usage_types (name, period) VALUES ('exports', 'week')")
    await db.execute("INSERT INTO plan_limits VALUES ('starter', 'exports', 2)")
    assert await call(db, "track_usage", "ann", "exports", 2)
    assert not await call(db, "track_usage", "ann", "exports", 1)


@pytest.mark.parametrize("period", ["day", "week", "month", "year", "lifetime"])
async def test_usage_starts_anew_each_period(db: asyncpg.Connection, period: str) -> None:
    """In the account's time zone."""
    await db.execute(
        "INSERT INTO organizations (id, time_zone) VALUES ('acme', 'Pacific/Auckland')"
    )
    await subscribe(db, "acme", "starter")
    await db.execute("INSERT INTO usage_types (name, period) VALUES ('exports', $1)", period)
    await db.execute("INSERT INTO plan_limits VALUES ('starter', 'exports', 2)")
    now = await row_of(db, "SELECT * FROM usage_period('acme', $1)", period)
    just = timedelta(microseconds=1)
    before, after = (
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
        if period == "lifetime"
        else (now["period_start"] - just, now["period_start"])
    )
    for moment in (before, after):
        await db.execute(
            "INSERT INTO feature_events (organization_id, user_id, usage_type, amount, used_at)"
            " VALUES ('acme', 'ann', 'exports', 1, $1)",
            moment,
        )
    remaining = "SELECT remaining FROM usage_standing('acme', 'ann', 'exports')"
    assert await db.fetchval(remaining) == (0 if period == "lifetime" else 1)


async def test_counts_follow_events_that_are_changed_or_go(db: asyncpg.Connection) -> None:
    for amount in (1, 2, 2):
        await call(db, "track_usage", "ann", ANALYSES, amount)
    await db.execute("DELETE FROM feature_events WHERE amount = 1")
    assert await used(db) == 4
    await db.execute("UPDATE feature_events SET amount = amount + 1")
    assert await used(db) == 6
    await db.execute("TRUNCATE feature_events")
    assert await used(db) == 0


async def test_a_change_of_zone_gives_nothing_back(db: asyncpg.Connection) -> None:
    await call(db, "track_usage", "ann", ANALYSES, 5)
    await db.execute("UPDATE organizations SET time_zone = 'America/New_York'")
    assert not await call(db, "track_usage", "ann", ANALYSES, 1)


async def test_a_type_that_was_used_keeps_its_period(db: asyncpg.Connection) -> None:
    await call(db, "track_usage", "ann", ANALYSES, 1)
    await db.execute("UPDATE usage_types SET period = 'week' WHERE name = $1", REVIEWS)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="another usage type"):
        await db.execute("UPDATE usage_types SET period = 'week' WHERE name = $1", ANALYSES)


async def test_events_are_never_minutes(db: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(
            "INSERT INTO feature_events (organization_id, user_id, usage_type, amount)"
            " VALUES ('acme', 'ann', 'minutes_per_month', 1)"
        )


async def test_an_event_keeps_the_tier_of_its_time(db: asyncpg.Connection) -> None:
    await call(db, "track_usage", "ann", ANALYSES, 1)
    await subscribe(db, "ann", "premium")
    await call(db, "track_usage", "ann", ANALYSES, 1)
    rows = await db.fetch("SELECT plan_id FROM feature_events ORDER BY id")
    assert [row["plan_id"] for row in rows] == ["starter", "premium"]
