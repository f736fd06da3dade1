"""Manual adjustments: who, why and when, never changed, and told to the ledger."""

from datetime import timedelta

import asyncpg
import pytest

from tests.sql.accounts import NOON, adjust, limit_organization, row_of

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
    for offset, user, seconds in ((0, None, 1), (0, "ann", 2), (1, "ann", 4), (-1, "bob", 8)):
        await db.execute(
            "INSERT INTO usage_adjustments"
            " (organization_id, user_id, seconds, effective_at, reason, author)"
            " VALUES ('acme', $1, $2, $3, 'because', 'op')",
            user,
            seconds,
            NOON + timedelta(hours=offset),
        )
    found = await row_of(
        db, "SELECT * FROM adjustments_in('acme', 'ann', $1, $2)", NOON, NOON + timedelta(hours=1)
    )
    assert tuple(found) == (3, 2)


async def test_an_organization_with_adjustments_stays(db: asyncpg.Connection) -> None:
    await adjust(db, "acme", 60)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM organizations")
