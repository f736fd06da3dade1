"""Describes a database's schema as text, to be compared and to be read in reviews.

`python -m persistence.schema > sql/schema.txt`, with DATABASE_URL naming a migrated database,
writes the declared schema anew.
"""

import asyncio
import sys

import asyncpg

from persistence.database import Connection
from persistence.settings import MigrateSettings
from persistence.statements import statement

HEADER = "# Made by `python -m persistence.schema` from a migrated database; not to be edited.\n"


async def describe(connection: Connection) -> str:
    """Tables with columns, constraints, indexes and triggers; functions and views. Without
    partitions, of which there are more each month, and the migrations' own table."""
    rows = await connection.fetch(statement("describe_schema"))
    return HEADER + "".join(f"{row['heading']}\n{row['body']}\n" for row in rows)


async def _main() -> None:
    settings = MigrateSettings()  # type: ignore[call-arg]  # from the environment
    connection = await asyncpg.connect(
        settings.database_url.get_secret_value(), server_settings={"timezone": "UTC"}
    )
    try:
        sys.stdout.write(await describe(connection))
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(_main())
