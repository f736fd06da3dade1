"""What users ask of a month, with a little and with a lot in `usage_tracking`.

The same questions of two databases, with 1 and with 20 million rows, made by SQL without the
triggers, and the kept figures after them in one statement each: sessions of an hour, of 200
organizations with 20 users each, spread evenly over eleven months. So the account that is asked for
has 20 times the rows, too; and its user an hour on every day in either case, as a month's answer
has a line a day. Through the Python faces that the HTTP routes use, one question at a time, 1,000
times each, of both in turn: an answer takes less than a millisecond, and fewer would be asked
within a moment of what else the machine does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median, quantiles
from urllib.parse import urlsplit

import asyncpg

from persistence.books import Books, PostgresStore
from persistence.migrations import migrate

ORGANIZATIONS, USERS, SESSION_MINUTES, DAYS = 200, 20, 60, 330
ORGANIZATION, USER = "org-7", "user-7-3"
ASKS = 1000

Question = Callable[[Books], Awaitable[object]]

QUESTIONS: dict[str, Question] = {
    "current month": lambda books: books.usage_days(ORGANIZATION, USER, own=True),
    "check limit": lambda books: books.account_limit(ORGANIZATION, USER),
    "overview": lambda books: books.overview(USER),
    "usage summary": lambda books: books.usage_summary(ORGANIZATION, USER),
}


@dataclass(frozen=True)
class HistoryFigures:
    """Milliseconds of each question, at a number of rows."""

    rows: int
    fill_seconds: float
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]


def measure_history(database_url: str, sizes: tuple[int, ...]) -> list[HistoryFigures]:
    """Make a database of each of the sizes on the server, and ask them in turn."""
    return asyncio.run(_measure(database_url, sizes))


async def _measure(database_url: str, sizes: tuple[int, ...]) -> list[HistoryFigures]:
    async with AsyncExitStack() as stack:
        books, filled = [], []
        for rows in sizes:
            url = await _database(database_url, f"history_{rows}")
            stack.push_async_callback(_run, database_url, f"DROP DATABASE history_{rows}")
            began = time.monotonic()
            await _fill(url, rows)
            filled.append(time.monotonic() - began)
            store = PostgresStore(url, max_connections=1)
            stack.push_async_callback(store.aclose)
            books.append(await stack.enter_async_context(store.reading()))
        times = await _ask(books)
    return [
        HistoryFigures(
            rows,
            seconds,
            {name: median(each) for name, each in asked.items()},
            {name: quantiles(each, n=100)[98] for name, each in asked.items()},
        )
        for rows, seconds, asked in zip(sizes, filled, times, strict=True)
    ]


async def _ask(all_books: list[Books]) -> list[dict[str, list[float]]]:
    """Each question of each in turn, so that what else the machine does is in all of them."""
    times: list[dict[str, list[float]]] = [{name: [] for name in QUESTIONS} for _ in all_books]
    for name, question in QUESTIONS.items():
        for _ in range(ASKS):
            for books, asked in zip(all_books, times, strict=True):
                began = time.perf_counter()
                await question(books)
                asked[name].append((time.perf_counter() - began) * 1000)
    return times


async def _database(server_url: str, name: str) -> str:
    """Make a database with all migrations."""
    await _run(server_url, f"CREATE DATABASE {name} TEMPLATE template0")
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection)
    finally:
        await connection.close()
    return url


async def _run(database_url: str, sql: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _fill(database_url: str, rows: int) -> None:
    connection = await asyncpg.connect(database_url, command_timeout=3600)
    try:
        await connection.execute("SELECT ensure_usage_partitions(now() - interval '1 year', 14)")
        await connection.execute("SELECT ensure_user_exists($1)", USER)
        await connection.execute(
            "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", ORGANIZATION
        )
        # Triggers are for what changes; this is what has long been there.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            _ROWS.format(
                sessions=rows // SESSION_MINUTES,
                minutes=SESSION_MINUTES,
                days=DAYS,
                organizations=ORGANIZATIONS,
                users=USERS,
            )
        )
        await connection.execute(_EVERY_DAY.format(days=DAYS), ORGANIZATION, USER)
        for statement in _KEPT:
            await connection.execute(statement)
        await connection.execute("RESET session_replication_role")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


_ROWS = """
INSERT INTO usage_tracking
    (session_id, organization_id, user_id, minute_timestamp, seconds_mask)
SELECT
    md5('session ' || number)::uuid,
    'org-' || number % {organizations},
    'user-' || number % {organizations} || '-' || number / {organizations} % {users},
    date_trunc('minute', now() - number::float8 / {sessions} * interval '{days} days')
        - interval '2 hours' + minute * interval '1 minute',
    (1::bigint << 60) - 1
FROM (
    SELECT
        number,
        minute
    FROM generate_series(0, {sessions} - 1) AS number
    CROSS JOIN generate_series(0, {minutes} - 1) AS minute
) AS made
"""

_EVERY_DAY = """
INSERT INTO usage_tracking
    (session_id, organization_id, user_id, minute_timestamp, seconds_mask)
SELECT
    md5('day ' || day)::uuid, $1, $2,
    date_trunc('day', now()) - day * interval '1 day' + minute * interval '1 minute',
    (1::bigint << 60) - 1
FROM generate_series(1, {days} - 1) AS day
CROSS JOIN generate_series(0, 59) AS minute
"""

_KEPT = (
    """
    INSERT INTO monthly_usage_cache (organization_id, user_id, month, seconds_used)
    SELECT
        organization_id, user_id, date_trunc('month', minute_timestamp AT TIME ZONE 'UTC')::date,
        sum(seconds_recorded)
    FROM usage_tracking
    GROUP BY 1, 2, 3
    """,
    """
    INSERT INTO daily_usage (organization_id, user_id, day, time_zone, seconds_used)
    SELECT
        organization_id, user_id, (minute_timestamp AT TIME ZONE 'UTC')::date, 'UTC',
        sum(seconds_recorded)
    FROM usage_tracking
    GROUP BY 1, 2, 3
    """,
    """
    INSERT INTO interview_sessions
        (session_id, organization_id, user_id, started_at, ended_at, end_reason, revision,
        seconds_recorded)
    SELECT
        session_id, organization_id, user_id, min(minute_timestamp),
        max(minute_timestamp) + interval '1 minute', 'stopped', 1, sum(seconds_recorded)
    FROM usage_tracking
    GROUP BY 1, 2, 3
    """,
)
