"""Systems C and D: profiles with computed minutes and credits, interviews, chats and responses."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from persistence.database import Connection
from tests.sql.accounts import noon, record, row_of, subscribe

pytestmark = pytest.mark.integration


async def make_user(db: asyncpg.Connection, user: str = "ann") -> UUID:
    found = await db.fetchval("SELECT ensure_user_exists($1)", user)
    assert isinstance(found, UUID)
    return found


async def start_chat(db: asyncpg.Connection, profile: UUID) -> UUID:
    found = await db.fetchval(
        "INSERT INTO chat_instances (profile_id) VALUES ($1) RETURNING id", profile
    )
    assert isinstance(found, UUID)
    return found


async def respond(db: Connection, profile: UUID, chat: UUID, at: datetime | None = None) -> None:
    await db.execute(
        "INSERT INTO chat_responses (profile_id, chat_instance_id, session_start)"
        " VALUES ($1, $2, $3)",
        profile,
        chat,
        at or datetime.now(UTC),
    )


async def set_quota(db: asyncpg.Connection, usage_type: str, value: int) -> None:
    await db.execute(
        "UPDATE plan_limits SET limit_value = $2 WHERE usage_type = $1", usage_type, value
    )


async def test_table_profiles_has_one_for_each_user(db: asyncpg.Connection) -> None:
    user = await make_user(db)
    row = await row_of(db, "SELECT * FROM profiles")
    assert (row["id"], row["organization_id"]) == (user, None)
    await db.execute("UPDATE profiles SET stripe_customer_id = 'cus_1'")
    await make_user(db, "bob")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("UPDATE profiles SET stripe_customer_id = 'cus_1'")


async def test_profiles_answer_to_membership_allocation_and_credits(
    db: asyncpg.Connection,
) -> None:
    await set_quota(db, "chat_responses_per_month", 3)
    await set_quota(db, "chat_instances", 2)
    ann = await make_user(db)
    await record(db, "ann", "ann", 61)
    await respond(db, ann, await start_chat(db, ann))
    assert await db.fetchval("SELECT membership FROM profiles") == "starter"
    profile = dict(await row_of(db, "SELECT * FROM profiles WHERE id = $1", ann))
    assert {
        "user_id": "ann",
        "organization_id": None,
        "membership": "starter",
        "total_minutes": 2,
        "monthly_minutes_allocation": 300,
        "minutes_used_this_month": 2,
        "minutes_remaining": 298,
        "responses_used_total": 1,
        "responses_used_this_month": 1,
        "responses_available": 2,
        "monthly_responses_quota": 3,
        "chat_instances_used": 1,
        "chat_instances_available": 1,
    }.items() <= profile.items()
    for view in ("account_overview", "profile_credits"):
        found = dict(await row_of(db, f"SELECT * FROM {view}"))
        common = found.keys() & profile.keys() - {"organization_id"}
        assert {name: found[name] for name in common} == {name: profile[name] for name in common}


async def test_profiles_are_written_as_a_table_but_for_what_is_computed(
    db: asyncpg.Connection,
) -> None:
    ann = await make_user(db)
    await db.execute("DELETE FROM profiles WHERE id = $1", ann)
    await db.execute("INSERT INTO profiles (user_id, full_name) VALUES ('ann', 'Ann')")
    await db.execute(
        "INSERT INTO profiles (id, full_name) VALUES ($1, 'Ann Lee')"
        " ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name",
        ann,
    )
    row = await row_of(db, "UPDATE profiles SET organisation_name = 'Acme' RETURNING *")
    assert (row["full_name"], row["organisation_name"], row["membership"]) == (
        "Ann Lee",
        "Acme",
        "starter",
    )
    assert row["created_at"] is not None
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="there is no user bob"):
        await db.execute("INSERT INTO profiles (user_id) VALUES ('bob')")
    for column in ("membership", "monthly_minutes_allocation", "responses_available"):
        with pytest.raises(asyncpg.FeatureNotSupportedError, match=f'column "{column}"'):
            await db.execute(f"UPDATE profiles SET {column} = NULL")


async def test_a_profiles_minutes_are_those_of_its_account_and_its_lifetime(
    db: asyncpg.Connection,
) -> None:
    await make_user(db)
    await record(db, "ann", "ann", 61)
    await record(db, "acme", "ann", 600)
    await record(db, "acme", "bob", 600)
    before = noon().replace(day=1) - timedelta(days=5)
    await record(db, "ann", "ann", 59, before)
    row = await row_of(db, "SELECT * FROM account_overview")
    assert row["total_minutes"] == 12
    assert (row["monthly_minutes_allocation"], row["minutes_used_this_month"]) == (300, 2)
    assert (row["minutes_remaining"], row["membership"]) == (298, "starter")
    await subscribe(db, "acme", "premium")
    await db.execute("UPDATE profiles SET organization_id = 'acme'")
    row = await row_of(db, "SELECT * FROM account_overview")
    assert (row["membership"], row["monthly_minutes_allocation"]) == ("pro", 2500)
    assert row["minutes_used_this_month"] == 20


async def test_without_a_plan_the_membership_is_free(db: asyncpg.Connection) -> None:
    await db.execute("UPDATE plans SET is_default = false")
    await make_user(db)
    assert await db.fetchval("SELECT membership FROM account_overview") == "free"


async def test_allocation_starts_anew_each_month(db: asyncpg.Connection) -> None:
    await make_user(db)
    await record(db, "ann", "ann", 600, noon().replace(day=1) - timedelta(days=3))
    row = await row_of(db, "SELECT * FROM account_overview")
    assert (row["minutes_used_this_month"], row["minutes_remaining"]) == (0, 300)


async def test_figures_are_computed_from_the_rows_and_cannot_drift(
    db: asyncpg.Connection,
) -> None:
    await make_user(db)
    session = await record(db, "ann", "ann", 600)
    await db.execute("DELETE FROM usage_tracking WHERE session_id = $1", session)
    row = await row_of(db, "SELECT * FROM account_overview")
    assert (row["total_minutes"], row["minutes_used_this_month"]) == (0, 0)


async def test_table_interviews_has_start_end_minutes_and_status(db: asyncpg.Connection) -> None:
    user = await make_user(db)
    await record(db, "ann", "ann", 61)
    row = await row_of(db, "SELECT * FROM interviews")
    assert (row["profile_id"], row["total_minutes"], row["status"]) == (user, 2, "completed")
    assert row["end_time"] - row["start_time"] == timedelta(seconds=61)
    await db.execute("UPDATE interview_sessions SET end_reason = 'lost'")
    assert await db.fetchval("SELECT status FROM interviews") == "lost"
    await db.execute("UPDATE interview_sessions SET end_reason = NULL, ended_at = NULL")
    assert await db.fetchval("SELECT status FROM interviews") == "in_progress"


async def test_tables_chat_instances_and_chat_responses_belong_to_a_profile(
    db: asyncpg.Connection,
) -> None:
    ann, bob = await make_user(db), await make_user(db, "bob")
    chat = await start_chat(db, ann)
    await respond(db, ann, chat)
    await db.execute(
        "UPDATE chat_responses SET session_end = session_start + interval '61 seconds',"
        " completion_status = 'completed'"
    )
    assert await db.fetchval("SELECT total_minutes FROM chat_responses") == 2
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await respond(db, bob, chat)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute("UPDATE chat_responses SET completion_status = 'in_progress'")


async def test_foreign_keys_to_profiles_have_indexes(db: asyncpg.Connection) -> None:
    stranger = UUID(int=1)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("INSERT INTO chat_instances (profile_id) VALUES ($1)", stranger)
    for table in ("chat_instances", "chat_responses"):
        assert await db.fetchval(
            "SELECT true FROM pg_constraint WHERE contype = 'f' AND conrelid = $1::text::regclass"
            " AND confrelid = 'profile_records'::regclass",
            table,
        )
        first = await db.fetch(
            "SELECT (SELECT attname FROM pg_attribute WHERE attrelid = indrelid"
            " AND attnum = indkey[0]) FROM pg_index WHERE indrelid = $1::text::regclass",
            table,
        )
        assert "profile_id" in {row[0] for row in first}


async def test_profile_credits_say_what_was_used_and_what_is_left(db: asyncpg.Connection) -> None:
    await set_quota(db, "chat_responses_per_month", 3)
    await set_quota(db, "chat_instances", 2)
    ann = await make_user(db)
    chat = await start_chat(db, ann)
    await respond(db, ann, chat, datetime.now(UTC) - timedelta(days=40))
    await respond(db, ann, chat)
    row = await row_of(db, "SELECT * FROM profile_credits")
    assert (row["responses_used_total"], row["responses_used_this_month"]) == (2, 1)
    assert (row["responses_available"], row["monthly_responses_quota"]) == (2, 3)
    assert (row["chat_instances_used"], row["chat_instances_available"]) == (1, 1)
    await db.execute("DELETE FROM chat_responses")
    assert await db.fetchval("SELECT responses_available FROM profile_credits") == 2


async def test_credits_without_a_quota_are_unlimited(db: asyncpg.Connection) -> None:
    ann = await make_user(db)
    await start_chat(db, ann)
    row = await row_of(db, "SELECT * FROM profile_credits")
    assert (row["chat_instances_used"], row["chat_instances_available"]) == (1, None)


async def test_a_response_past_the_quota_is_refused(db: asyncpg.Connection, sql_url: str) -> None:
    await set_quota(db, "chat_responses_per_month", 10)
    ann = await make_user(db)
    chat = await start_chat(db, ann)

    async with asyncpg.create_pool(sql_url, min_size=8, max_size=8) as pool:

        async def ask() -> str | None:
            """The constraint that refuses it."""
            async with pool.acquire() as connection:
                try:
                    await respond(connection, ann, chat)
                except asyncpg.CheckViolationError as error:
                    return error.constraint_name
                return None

        answers = await asyncio.gather(*(ask() for _ in range(60)))
    assert (answers.count(None), answers.count("usage_limit")) == (10, 50)
    assert await db.fetchval("SELECT count(*) FROM chat_responses") == 10


async def test_responses_of_the_past_are_taken_whatever_the_quota(db: asyncpg.Connection) -> None:
    await set_quota(db, "chat_responses_per_month", 0)
    ann = await make_user(db)
    chat = await start_chat(db, ann)
    await respond(db, ann, chat, datetime.now(UTC) - timedelta(days=2))
    assert await db.fetchval("SELECT responses_used_total FROM profile_credits") == 1


async def test_a_response_that_ended_stays_as_it_ended(db: asyncpg.Connection) -> None:
    ann = await make_user(db)
    await respond(db, ann, await start_chat(db, ann))
    end = "UPDATE chat_responses SET completion_status = 'completed', session_end = $1"
    at = datetime.now(UTC) + timedelta(minutes=1)
    await db.execute(end, at)
    await db.execute(end, at)  # told again
    await db.execute("UPDATE chat_responses SET metadata = '{}'")
    for change in (
        "completion_status = 'abandoned'",
        "completion_status = 'in_progress', session_end = NULL",
        "session_end = session_end + interval '1 minute'",
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="is completed already") as error:
            await db.execute(f"UPDATE chat_responses SET {change}")
        assert error.value.constraint_name == "chat_responses_final"
