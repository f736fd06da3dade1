"""What a development database has in it besides the plans: an organization to record for."""

from persistence.database import Database
from persistence.statements import statement


async def make_demo(database_url: str) -> None:
    """Make the demo organization, unlimited, unless it is there.

    Raises `StorageUnavailable` when Postgres cannot be asked."""
    database = Database(database_url, name="minute-meter demo", max_connections=1)
    try:
        async with database.connection() as connection:
            await connection.execute(statement("make_demo"))
    finally:
        await database.aclose()
