"""What migrations do with the rows that are there."""

import asyncpg
import pytest

from persistence.migrations import migrate, shipped
from tests.persistence.conftest import Server, cloned
from tests.sql.accounts import noon

pytestmark = pytest.mark.integration

CONSTRAINTS = (
    "feature_events_account",
    "interview_sessions_account",
    "interview_sessions_moments",
    "interview_sessions_reason",
)
BEFORE = 23


async def test_a_row_of_before_that_breaks_a_constraint_does_not_hold_up_a_deploy(
    server: Server,
) -> None:
    """It stays, and the constraint holds of new ones; the other constraints hold of all."""
    insert = (
        "INSERT INTO interview_sessions"
        " (session_id, organization_id, user_id, started_at, ended_at, end_reason)"
        " VALUES (gen_random_uuid(), 'acme', 'ann', $1, $1, 'whatever')"
    )
    async with cloned(server, "template0") as url:
        db = await asyncpg.connect(url)
        await migrate(db, shipped()[:BEFORE])
        await db.execute(insert, noon())
        await migrate(db)
        rows = await db.fetch(
            "SELECT conname, convalidated FROM pg_constraint WHERE conname = ANY ($1)", CONSTRAINTS
        )
        assert {row["conname"]: row["convalidated"] for row in rows} == {
            name: name != "interview_sessions_reason" for name in CONSTRAINTS
        }
        assert await db.fetchval("SELECT count(*) FROM interview_sessions") == 1
        with pytest.raises(asyncpg.CheckViolationError, match="interview_sessions_reason"):
            await db.execute(insert, noon())
        await db.close()


async def test_the_schema_meter_is_not_made_where_a_role_would_look_for_tables_in_it(
    server: Server,
) -> None:
    async with cloned(server, "template0") as url:
        db = await asyncpg.connect(url)
        await db.execute("CREATE ROLE meter")
        try:
            await migrate(db)
        finally:
            await db.execute("DROP ROLE meter")
        assert await db.fetchval("SELECT to_regnamespace('meter')") is None
        await db.close()
