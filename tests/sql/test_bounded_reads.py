"""What figures cost to read doesn't grow with the minutes that were recorded."""

import json
from datetime import timedelta

import asyncpg
import pytest

from persistence.statements import statement
from tests.sql.accounts import limit_member, noon, record, row_of, subscribe

pytestmark = pytest.mark.integration

NOON = noon()
MONTH = NOON.date().replace(day=1), NOON.date().replace(day=28)

READS = {
    "check-limit": "SELECT * FROM check_usage_limit('ann', 'acme')",
    "check-limit in another zone": "SELECT * FROM check_usage_limit('ann', 'abroad')",
    "days": f"SELECT * FROM seconds_by_day('acme', 'ann', '{MONTH[0]}', '{MONTH[1]}')",
    "days of all": f"SELECT * FROM seconds_by_day('acme', NULL, '{MONTH[0]}', '{MONTH[1]}')",
    "details": "SELECT get_usage_details('ann', 'acme')",
    "details of an organization": "SELECT get_usage_details(NULL, 'acme')",
    "overview": "SELECT * FROM account_overview WHERE user_id = 'ann'",
    "profile": "SELECT * FROM profiles WHERE user_id = 'ann'",
    "credits": "SELECT * FROM profile_credits WHERE user_id = 'ann'",
    "limits": "SELECT * FROM user_current_limits WHERE clerk_id = 'ann'",
    "usage": "SELECT * FROM user_usage WHERE clerk_id = 'ann'",
    "summary": "SELECT * FROM get_user_usage_summary('ann', 'acme')",
    "months": "SELECT * FROM user_monthly_stats WHERE user_id = 'ann'",
    "lifetime": "SELECT * FROM user_lifetime_stats WHERE user_id = 'ann'",
    "milestones": "SELECT * FROM user_milestones WHERE user_id = 'ann'",
    "adjustments": f"SELECT * FROM adjustments_in('acme', 'ann', '{NOON}', '{NOON}')",
}
# What the gateway asks of a month, with its parameters.
QUESTIONS: dict[str, tuple[str, tuple[str | None, ...]]] = {
    "current month of a member": ("ask_usage_days", ("acme", "ann", "ann")),
    "current month of all": ("ask_usage_days", ("acme", None, "ann")),
    "check limit": ("ask_account_limit", ("acme", "ann")),
    "overview": ("ask_overview", ("ann",)),
    "usage summary": ("ask_usage_summary", ("acme", "ann")),
}
# Postgres takes the plan for all parameters from the sixth time on, unless it thinks it too costly.
TRIES = 5
# A page is 8 KiB; those of the catalogs aren't counted again once a plan is made.
MOST_PAGES = 150


async def fill(db: asyncpg.Connection, minutes: int) -> None:
    """So many minutes of the sessions that are there, in both accounts."""
    await db.execute("TRUNCATE usage_tracking")
    await db.execute(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " SELECT session_id, organization_id, user_id,"
        " $1::timestamptz + minute * interval '1 minute', 1"
        " FROM interview_sessions, generate_series(1, $2) AS minute",
        NOON,
        minutes,
    )
    # Vacuumed, so that no read finds versions of rows that are gone.
    await db.execute("VACUUM ANALYZE")


async def cost(db: asyncpg.Connection, query: str) -> tuple[int, int, int]:
    """Pages that a read looks into, whole scans of usage_tracking and its rows that it fetches."""
    await db.execute(query)
    scans = (
        "SELECT coalesce(sum(seq_scan), 0)::int, coalesce(sum(idx_tup_fetch), 0)::int"
        " FROM pg_stat_xact_user_tables WHERE relname LIKE 'usage_tracking%'"
    )
    async with db.transaction():
        before = await row_of(db, scans)
        plan = json.loads(await db.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"))
        after = await row_of(db, scans)
    top = plan[0]["Plan"]
    pages = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return pages, after[0] - before[0], after[1] - before[1]


async def make_accounts(db: asyncpg.Connection) -> None:
    await db.execute("SELECT ensure_user_exists('ann')")
    await db.execute(
        "INSERT INTO organizations (id, time_zone)"
        " VALUES ('acme', 'UTC'), ('abroad', 'Pacific/Auckland')"
    )
    for organization in ("acme", "abroad"):
        await subscribe(db, organization, "starter")
        await limit_member(db, organization, "ann", 5)
        for user in ("ann", "bob", "cy", "di"):
            for number in range(3):
                began = NOON + timedelta(minutes=number)
                await record(db, organization, user, 61, began, ended=number < 2)


async def test_current_month_check_limit_and_overview_read_a_bounded_number_of_rows(
    db: asyncpg.Connection,
) -> None:
    await make_accounts(db)
    await fill(db, 100)
    small = {name: await cost(db, query) for name, query in READS.items()}
    await fill(db, 2500)
    large = {name: await cost(db, query) for name, query in READS.items()}
    assert {name: found for name, found in large.items() if found[1:] != (0, 0)} == {}
    assert {name: pages for name, (pages, _, _) in large.items() if pages > MOST_PAGES} == {}
    grown = {
        name: (small[name], large[name])
        for name in READS
        if large[name][0] > 1.5 * small[name][0] + 30
    }
    assert grown == {}


async def test_a_read_of_all_minutes_would_be_noticed(db: asyncpg.Connection) -> None:
    await make_accounts(db)
    _, scans, _ = await cost(db, "SELECT sum(seconds_recorded) FROM usage_tracking")
    assert scans > 0


async def fill_kept_figures(db: asyncpg.Connection, users: int) -> None:
    """Three years of days and of months of so many users in either account."""
    await db.execute(
        "INSERT INTO daily_usage (organization_id, user_id, day, time_zone, seconds_used)"
        " SELECT organization, 'user ' || number, day, 'UTC', 3600"
        " FROM unnest(ARRAY['acme', 'abroad']) AS organization, generate_series(1, $1) AS number,"
        " generate_series(now() - interval '3 years', now() + interval '1 month', '1 day') AS day",
        users,
    )
    await db.execute(
        "INSERT INTO monthly_usage_cache (organization_id, user_id, month, seconds_used)"
        " SELECT organization_id, user_id, date_trunc('month', day)::date, sum(seconds_used)"
        " FROM daily_usage WHERE user_id LIKE 'user %' GROUP BY 1, 2, 3"
    )
    await db.execute("VACUUM ANALYZE")


async def test_questions_of_a_month_are_planned_once_a_connection_however_many_rows_there_are(
    db: asyncpg.Connection,
) -> None:
    await make_accounts(db)
    await fill_kept_figures(db, 50)
    planned = {}
    for name, (asked, parameters) in QUESTIONS.items():
        prepared = await db.prepare(f"{statement(asked)} -- {name}")
        for _ in range(TRIES + 3):
            await prepared.fetch(*parameters)
        planned[name] = await db.fetchval(
            "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1", prepared.get_name()
        )
    assert planned == dict.fromkeys(QUESTIONS, TRIES)


async def test_days_are_a_members_or_everybodys_and_those_without_a_second_are_left_out(
    db: asyncpg.Connection,
) -> None:
    await make_accounts(db)
    await db.execute(
        "INSERT INTO daily_usage (organization_id, user_id, day, time_zone, seconds_used)"
        " VALUES ('acme', 'ann', $1, 'UTC', 7), ('acme', 'ann', $1, 'Asia/Tokyo', 4),"
        " ('acme', 'bob', $2, 'UTC', 0), ('acme', 'bob', $3, 'UTC', 5)",
        MONTH[0],
        MONTH[1],
        MONTH[0] - timedelta(days=1),
    )
    days = "SELECT day, seconds FROM seconds_by_day('acme', $1, $2, $3) ORDER BY day"
    noon = NOON.date()
    assert [tuple(row) for row in await db.fetch(days, "ann", *MONTH)] == [
        (MONTH[0], 11),
        (noon, 183),
    ]
    assert [tuple(row) for row in await db.fetch(days, "bob", *MONTH)] == [(noon, 183)]
    assert [tuple(row) for row in await db.fetch(days, None, *MONTH)] == [
        (MONTH[0], 11),
        (noon, 732),
    ]
    assert await db.fetch(days, "nobody", *MONTH) == []
