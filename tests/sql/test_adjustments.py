"""Manual adjustments: who, why and when, never changed, and told to the ledger."""

from datetime import timedelta

import asyncpg
import pytest

from tests.sql.accounts import adjust, check, limit_member, limit_organization, noon, record, row_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_adjustments SET seconds = 1",
        "UPDATE usage_adjustments SET reason = 'another'",
        "DELETE FROM usage_adjustments",
        "TRUNCATE usage_adjustments",
    ],
)
async def test_an_adjustment_stays_as_it_is(db: asyncpg.Connection, change: str) -> None:
    await adjust(db, "acme", 60)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
        await db.execute(change)
    assert await db.fetchval("SELECT seconds FROM usage_adjustments") == 60


@pytest.mark.parametrize(
    "values",
    [
        "0, 'because', 'ann'",
        "NULL, 'because', 'ann'",
        "1, ' ', 'ann'",
        "1, 'because', ''",
        "9000000000000, 'because', 'ann'",
    ],
)
async def test_an_adjustment_needs_seconds_a_reason_and_an_author(
    db: asyncpg.Connection, values: str
) -> None:
    await limit_organization(db, "acme", 1)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await db.execute(
            "INSERT INTO usage_adjustments (organization_id, seconds, reason, author)"
            f" VALUES ('acme', {values})"
        )


async def test_a_key_makes_one_adjustment_in_an_organization(db: asyncpg.Connection) -> None:
    insert = (
        "INSERT INTO usage_adjustments (organization_id, seconds, reason, author, idempotency_key)"
        " VALUES ($1, 1, 'because', 'ann', 'key')"
    )
    for organization in ("acme", "other"):
        await limit_organization(db, organization, 1)
        await db.execute(insert, organization)
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute(insert, "acme")


async def test_the_ledger_is_to_be_told_of_each_adjustment(db: asyncpg.Connection) -> None:
    await adjust(db, "acme", 60)
    version = await db.fetchval("SELECT version FROM limit_changes")
    await adjust(db, "acme", 60, "ann")
    assert await db.fetchval("SELECT version FROM limit_changes") == version + 1


async def test_adjustments_are_of_the_period_that_holds_their_moment(
    db: asyncpg.Connection,
) -> None:
    await limit_organization(db, "acme", 1)
    for member in ("ann", "bob"):
        await limit_member(db, "acme", member, None)
    for offset, user, seconds in ((0, None, 1), (0, "ann", 2), (1, "ann", 4), (-1, "bob", 8)):
        await db.execute(
            "INSERT INTO usage_adjustments"
            " (organization_id, user_id, seconds, effective_at, reason, author)"
            " VALUES ('acme', $1, $2, $3, 'because', 'op')",
            user,
            seconds,
            noon() + timedelta(hours=offset),
        )
    span = noon(), noon() + timedelta(hours=1)
    found = await row_of(db, "SELECT * FROM adjustments_in('acme', 'ann', $1, $2)", *span)
    assert tuple(found) == (3, 2)


async def test_an_organization_with_adjustments_stays(db: asyncpg.Connection) -> None:
    await adjust(db, "acme", 60)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM organizations")


async def adjustment(
    db: asyncpg.Connection, user: str | None, seconds: int = 60, at: str = "now"
) -> None:
    await db.execute(
        "INSERT INTO usage_adjustments"
        " (organization_id, user_id, seconds, effective_at, reason, author)"
        " VALUES ('acme', $1, $2, $3::text::timestamptz, 'because', 'op')",
        user,
        seconds,
        at,
    )


async def test_an_adjustment_of_an_unknown_user_or_of_no_member_is_refused(
    db: asyncpg.Connection,
) -> None:
    await limit_organization(db, "acme", 1)
    await db.execute("SELECT ensure_user_exists('bob')")
    for user in ("nobody", "bob"):
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="is no member of acme") as error:
            await adjustment(db, user)
        assert error.value.constraint_name == "usage_adjustments_member"
    assert await db.fetchval("SELECT count(*) FROM usage_adjustments") == 0


async def test_an_adjustment_is_taken_of_a_member_of_who_recorded_and_of_whose_account_it_is(
    db: asyncpg.Connection,
) -> None:
    await limit_organization(db, "acme", 1)
    await limit_member(db, "acme", "member", None)
    await record(db, "acme", "recorded", 60)
    await db.execute("SELECT ensure_user_exists('profiled')")
    await db.execute("UPDATE profiles SET organization_id = 'acme'")
    await begin(db, "begun", 1)
    for user in ("member", "recorded", "profiled", "begun", "acme"):
        await adjustment(db, user)
    await adjustment(db, None)
    assert await db.fetchval("SELECT count(*) FROM usage_adjustments") == 6


async def begin(db: asyncpg.Connection, user: str, sessions: int) -> None:
    """Sessions of which nothing is durable yet but that they are there."""
    await db.execute(
        "INSERT INTO interview_sessions (session_id, organization_id, user_id, started_at)"
        " SELECT gen_random_uuid(), 'acme', $1, now() FROM generate_series(1, $2::integer)",
        user,
        sessions,
    )


async def test_whether_somebody_is_known_costs_the_same_however_much_was_recorded(
    db: asyncpg.Connection,
) -> None:
    await begin(db, "ann", 3000)
    await db.execute(
        "INSERT INTO interview_sessions (session_id, organization_id, user_id, started_at)"
        " SELECT gen_random_uuid(), 'other', 'bob', now() FROM generate_series(1, 3000)"
    )
    await db.execute("VACUUM ANALYZE")
    scans = (
        "SELECT seq_scan::int, idx_tup_fetch::int FROM pg_stat_xact_user_tables"
        " WHERE relname = 'interview_sessions'"
    )
    for user, known in (("ann", True), ("bob", False), ("nobody", False)):
        async with db.transaction():
            whole, fetched = await row_of(db, scans)
            assert await db.fetchval("SELECT is_member('acme', $1)", user) is known
            whole_after, fetched_after = await row_of(db, scans)
        assert whole_after == whole
        assert fetched_after - fetched <= 1


@pytest.mark.parametrize("moment", ["9999-01-01", "1969-12-31", "infinity", "-infinity"])
async def test_an_adjustment_far_from_now_is_refused(db: asyncpg.Connection, moment: str) -> None:
    await limit_organization(db, "acme", 1)
    with pytest.raises(asyncpg.CheckViolationError) as error:
        await adjustment(db, None, at=moment)
    assert error.value.constraint_name == "usage_adjustments_moment"


async def test_a_members_minutes_have_their_adjustments_as_check_usage_limit_has(
    db: asyncpg.Connection,
) -> None:
    minutes = "SELECT current_month_minutes_used FROM organization_members WHERE user_id = 'ann'"
    await limit_organization(db, "acme", 10)
    await limit_member(db, "acme", "ann", 1)
    await record(db, "acme", "ann", 300)
    for seconds, expected in ((-60, 4), (-600, 0), (480, 2)):
        await adjustment(db, "ann", seconds)
        assert await db.fetchval(minutes) == expected
        assert (await check(db, "ann", "acme"))["minutes_used"] == expected
    await record(db, "acme", "ann", 60)
    assert await db.fetchval(minutes) == 3
    await adjustment(db, None, 600)
    before = noon().replace(day=1) - timedelta(days=3)
    await adjustment(db, "ann", 600, at=f"{before}")
    assert await db.fetchval(minutes) == 3
    assert await db.fetch("SELECT * FROM audit_members()") == []
    await db.execute("UPDATE organization_members SET current_month_minutes_used = 9")
    await db.fetchval("SELECT repair_usage('2000-01-01', '2001-01-01')")
    assert await db.fetchval(minutes) == 3
