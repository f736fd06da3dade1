"""Short ways to make accounts with usage, in SQL, and to read figures."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

FULL = (1 << 60) - 1


def noon() -> datetime:
    """The 15th of this month at noon, UTC: partitions for the months around it are there."""
    return datetime.now(UTC).replace(day=15, hour=12, minute=0, second=0, microsecond=0)


async def record(
    db: asyncpg.Connection,
    organization: str,
    user: str,
    seconds: int,
    at: datetime | None = None,
    *,
    ended: bool = True,
    kind: str = "recording",
    session: str | None = None,
) -> str:
    """A session of so many seconds in a row from `at` (a whole minute) on. Its id."""
    session = session or str(uuid.uuid4())
    began = at or noon()
    await db.execute(
        "INSERT INTO interview_sessions (session_id, organization_id, user_id, kind, started_at,"
        " ended_at, end_reason, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, 1)",
        session,
        organization,
        user,
        kind,
        began,
        began + timedelta(seconds=seconds) if ended else None,
        "stopped" if ended else None,
    )
    whole, rest = divmod(seconds, 60)
    masks = [FULL] * whole + ([(1 << rest) - 1] if rest else [])
    await db.executemany(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " VALUES ($1, $2, $3, $4, $5)",
        [
            (session, organization, user, began + timedelta(minutes=minute), mask)
            for minute, mask in enumerate(masks)
        ],
    )
    return session


async def subscribe(
    db: asyncpg.Connection, organization: str, plan: str, cycle: str = "calendar"
) -> None:
    """Give an organization a plan in place of the one it has."""
    await db.execute(
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", organization
    )
    await db.execute(
        "UPDATE user_subscriptions SET status = 'canceled', ended_at = now() "
        "WHERE organization_id = $1 AND ended_at IS NULL",
        organization,
    )
    await db.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id, billing_cycle)"
        " VALUES ($1, $2, $3)",
        organization,
        plan,
        cycle,
    )


async def limit_organization(db: asyncpg.Connection, organization: str, hours: float) -> None:
    """Give an organization a limit of its own."""
    await db.execute(
        "INSERT INTO organizations (id, monthly_audio_hours_limit) VALUES ($1, $2::float8::numeric)"
        " ON CONFLICT (id) DO UPDATE"
        " SET monthly_audio_hours_limit = excluded.monthly_audio_hours_limit",
        organization,
        hours,
    )


async def limit_member(
    db: asyncpg.Connection, organization: str, user: str, hours: float | None
) -> None:
    """Make somebody a member, with a limit of their own or without."""
    await db.execute(
        "INSERT INTO organization_members (organization_id, user_id, monthly_audio_hours_limit)"
        " VALUES ($1, $2, $3::float8::numeric) ON CONFLICT (organization_id, user_id) DO UPDATE"
        " SET monthly_audio_hours_limit = excluded.monthly_audio_hours_limit",
        organization,
        user,
        hours,
    )


async def adjust(
    db: asyncpg.Connection, organization: str, seconds: int, user: str | None = None
) -> None:
    """Adjust an account now; of a user, who becomes a member."""
    await db.execute(
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", organization
    )
    if user is not None:
        await db.execute(
            "INSERT INTO organization_members (organization_id, user_id) VALUES ($1, $2)"
            " ON CONFLICT DO NOTHING",
            organization,
            user,
        )
    await db.execute(
        "INSERT INTO usage_adjustments (organization_id, user_id, seconds, reason, author)"
        " VALUES ($1, $2, $3, 'a test', 'somebody')",
        organization,
        user,
        seconds,
    )


async def row_of(db: asyncpg.Connection, query: str, *arguments: object) -> asyncpg.Record:
    """The first row of a query that has one."""
    row = await db.fetchrow(query, *arguments)
    assert row is not None
    return row


async def check(db: asyncpg.Connection, user: str, organization: str) -> dict[str, Any]:
    """What check_usage_limit(user, organization) says."""
    return dict(await row_of(db, "SELECT * FROM check_usage_limit($1, $2)", user, organization))


async def track(
    db: asyncpg.Connection, user: str, usages: object, key: str | None = None, **named: str
) -> dict[str, Any]:
    """What track_usages() answers."""
    answer = await db.fetchval(
        "SELECT track_usages($1, $2, $3, $4)",
        user,
        json.dumps(usages),
        key,
        named.get("organization"),
    )
    parsed: dict[str, Any] = json.loads(answer)
    return parsed
