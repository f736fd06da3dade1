"""Figures for people and checks, read from the rows."""

from collections.abc import Sequence
from uuid import UUID

from persistence.database import Database
from persistence.statements import statement


async def recorded_seconds(database_url: str, session_ids: Sequence[UUID]) -> int:
    """Seconds that `usage_tracking` holds of these sessions, in all.

    Raises `StorageUnavailable` when Postgres cannot be asked now.
    """
    database = Database(database_url, name="minute-meter report", max_connections=1)
    try:
        async with database.connection() as connection:
            seconds = await connection.fetchval(statement("recorded_seconds"), list(session_ids))
            return int(seconds)
    finally:
        await database.aclose()
