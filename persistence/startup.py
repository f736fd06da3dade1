"""What a gateway or a flusher finds out before it begins."""

import logging

import asyncpg

from meter.ledger.types import StorageUnavailable
from persistence.errors import storage_errors
from persistence.migrations import SchemaOutdated, check_version

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0


async def outdated_schema(database_url: str) -> str | None:
    """What the database lacks that this program can't work without; None when nothing, or when
    Postgres can't be asked now: that is an outage, and sessions may go on in one."""
    try:
        with storage_errors():
            connection = await asyncpg.connect(
                database_url, timeout=ANSWER_SECONDS, command_timeout=ANSWER_SECONDS
            )
            try:
                await check_version(connection)
            finally:
                connection.terminate()
    except SchemaOutdated as error:
        return str(error)
    except StorageUnavailable as error:
        logger.warning("starting without Postgres, which doesn't answer: %s", error)
    return None
