"""Asks Postgres and the ledger what is billed, and whether the derived figures follow the rows."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

import asyncpg

from meter.ledger.types import LedgerUnavailable, LookItem, Standing
from tests.faults.alerts import Noted
from tests.faults.book import Book
from tests.faults.house import House
from tests.faults.judge import Bill
from tests.faults.programs import REPOSITORY

# Each gives rows that should not be: what, and where.
_FIGURES = {
    "monthly_usage_cache": """
        SELECT format('%s/%s %s: %s, rows: %s', organization_id, user_id, month,
                      kept.seconds_used, counted.seconds)
        FROM (
            SELECT organization_id, user_id,
                date_trunc('month', minute_timestamp AT TIME ZONE 'UTC')::date AS month,
                sum(seconds_recorded) AS seconds
            FROM usage_tracking GROUP BY 1, 2, 3
        ) AS counted
        FULL JOIN monthly_usage_cache AS kept USING (organization_id, user_id, month)
        WHERE coalesce(kept.seconds_used, 0) <> coalesce(counted.seconds, 0)
    """,
    "interview_sessions.seconds_recorded": """
        SELECT format('%s: %s, rows: %s', session_id, kept.seconds_recorded, counted.seconds)
        FROM (
            SELECT session_id, sum(seconds_recorded) AS seconds FROM usage_tracking GROUP BY 1
        ) AS counted
        FULL JOIN interview_sessions AS kept USING (session_id)
        WHERE coalesce(kept.seconds_recorded, 0) <> coalesce(counted.seconds, 0)
    """,
    "organization_members.current_month_minutes_used": """
        SELECT format('%s/%s: %s, rows: %s', organization_id, user_id,
                      member.current_month_minutes_used, counted.minutes)
        FROM organization_members AS member
        JOIN (
            SELECT organization_id, user_id, month, ceil(sum(seconds) / 60.0) AS minutes
            FROM (
                SELECT organization_id, user_id,
                    date_trunc('month', minute_timestamp AT TIME ZONE 'UTC')::date AS month,
                    seconds_recorded AS seconds
                FROM usage_tracking
            ) AS minutes GROUP BY 1, 2, 3
        ) AS counted USING (organization_id, user_id)
        WHERE counted.month = member.current_month_start
            AND counted.minutes <> member.current_month_minutes_used
    """,
    "daily_usage": """
        SELECT format('%s/%s %s: %s, rows: %s', organization_id, user_id, day,
                      kept.seconds_used, counted.seconds)
        FROM (
            SELECT organization_id, user_id, (minute_timestamp AT TIME ZONE 'UTC')::date AS day,
                sum(bit_count(seconds_mask::bit(60))) AS seconds
            FROM usage_tracking GROUP BY 1, 2, 3
        ) AS counted
        FULL JOIN daily_usage AS kept USING (organization_id, user_id, day)
        WHERE coalesce(kept.seconds_used, 0) <> coalesce(counted.seconds, 0)
    """,
    "user_lifetime_stats": """
        WITH moments AS (
            SELECT user_id, session_id, minute_timestamp + bit * interval '1 second' AS second
            FROM usage_tracking CROSS JOIN generate_series(0, 59) AS bit
            WHERE seconds_mask >> bit & 1 = 1
        ), days AS (
            SELECT DISTINCT user_id, (second AT TIME ZONE 'UTC')::date AS day FROM moments
        ), streaks AS (
            SELECT user_id, count(*) AS days
            FROM (
                SELECT user_id,
                    day - row_number() OVER (PARTITION BY user_id ORDER BY day)::integer AS run
                FROM days
            ) AS numbered GROUP BY user_id, run
        ), counted AS (
            SELECT user_id, count(*) AS seconds, count(DISTINCT session_id) AS sessions,
                (SELECT count(*) FROM days WHERE days.user_id = moments.user_id) AS days,
                (SELECT max(days) FROM streaks WHERE streaks.user_id = moments.user_id) AS streak,
                min(second) AS first, max(second) + interval '1 second' AS last
            FROM moments GROUP BY user_id
        )
        SELECT format('%s: %s, rows: %s', user_id, kept, counted)
        FROM counted
        FULL JOIN (SELECT * FROM user_lifetime_stats WHERE total_seconds > 0) AS kept
            USING (user_id)
        WHERE (kept.total_seconds, kept.total_sessions, kept.days_active, kept.longest_streak,
               kept.first_activity, kept.last_activity)
            IS DISTINCT FROM (counted.seconds, counted.sessions, counted.days, counted.streak,
               counted.first, counted.last)
    """,
}


async def settled(house: House, seconds: float) -> bool:
    """Wait until the ledger has no live session and nothing that is not durable."""
    ledger = house.ledger()
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            with suppress(LedgerUnavailable):
                backlog = await ledger.backlog()
                if not (backlog.live_sessions or backlog.sessions_due or backlog.set_aside):
                    return True
            await asyncio.sleep(0.25)
    finally:
        await ledger.aclose()
    return False


async def ask(house: House, books: Iterable[Book]) -> Bill:
    """What is billed of these books' accounts."""
    books = list(books)
    users: dict[str, set[str]] = {}
    for book in books:
        users.setdefault(book.organization_id, set()).add(book.user_id)
    connection = await house.database()
    try:
        billed = await _billed(connection, list(users))
        wrong = [
            f"{name} differs from the rows: {row[0]}"
            for name, query in _FIGURES.items()
            for row in await connection.fetch(query)
        ]
        live = await connection.fetch(
            "SELECT session_id FROM interview_sessions WHERE ended_at IS NULL AND revision > 0 "
            "AND organization_id = ANY ($1::text[])",
            list(users),
        )
        alerts = await _alerts(connection, list(users))
    finally:
        await connection.close()
    organizations, members = await _figures(house, users)
    return Bill(
        billed=billed,
        ledger=organizations,
        ledger_members=members,
        wrong_figures=[*wrong, *await audit(house)],
        alerts=alerts,
        still_live=[row["session_id"] for row in live],
    )


async def _billed(connection: asyncpg.Connection, organizations: list[str]) -> dict[UUID, set[int]]:
    rows = await connection.fetch(
        "SELECT session_id, extract(epoch FROM minute_timestamp)::bigint AS minute, seconds_mask "
        "FROM usage_tracking WHERE organization_id = ANY ($1::text[])",
        organizations,
    )
    billed: dict[UUID, set[int]] = {}
    for session_id, minute, mask in rows:
        seconds = billed.setdefault(UUID(int=session_id.int), set())
        seconds.update(minute + bit for bit in range(60) if mask >> bit & 1)
    return billed


async def _alerts(connection: asyncpg.Connection, organizations: list[str]) -> list[Noted]:
    rows = await connection.fetch(
        "SELECT organization_id, user_id, extract(epoch FROM period_start)::bigint AS period, "
        "kind, value FROM usage_alerts WHERE organization_id = ANY ($1::text[])",
        organizations,
    )
    return [Noted(**row) for row in rows]


async def audit(house: House) -> list[str]:
    """What `meter audit` finds, as an operator would ask it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "command.main", "audit", "--json"),
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": house.postgres.url, "REDIS_URL": house.valkey.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate()
    try:
        report = json.loads(said)
    except ValueError:
        return [f"`meter audit` ended with {process.returncode}: {complaint.decode()}"]
    wrong = [f"`meter audit` found a drift: {drift}" for drift in report["drifts"]]
    if (report["drift_seconds"], process.returncode) != (0, 0) and not wrong:
        wrong.append(f"`meter audit` ended with {process.returncode}: {report}")
    return wrong


async def _figures(
    house: House, users: dict[str, set[str]]
) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """The ledger's figures of this month, of those that it knows."""
    ledger = house.ledger()
    organizations: dict[str, int] = {}
    members: dict[tuple[str, str], int] = {}
    try:
        for organization, names in users.items():
            ordered = tuple(sorted(names))
            look = (await ledger.look([LookItem(organization, ordered)]))[0]
            for user, standing in zip(ordered, look.standings, strict=True):
                if isinstance(standing, Standing):
                    organizations[organization] = standing.used
                    members[organization, user] = standing.member_used
    finally:
        await ledger.aclose()
    return organizations, members
