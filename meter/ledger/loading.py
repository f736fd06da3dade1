"""Puts the server functions on every primary, and deletes those of versions long gone."""

import logging
from typing import Any

from redis.exceptions import ResponseError

from meter.ledger.clients import Client, primaries
from meter.ledger.functions import ANY_LIBRARY, Library, version_of

logger = logging.getLogger(__name__)

# For processes that are still of the release before, or are put back to it.
KEPT_VERSIONS = 1


def is_missing(error: ResponseError) -> bool:
    """Whether the server lacks the function that was called."""
    return "not found" in str(error)


async def load(client: Client, library: Library) -> None:
    """Load the library on each primary that lacks it or has an older revision of its version.

    Several may do this at once, of different releases too: the newest revision stays. Other
    versions' libraries are left alone.
    """
    for where in primaries(client):
        await _load(client, library, where)


async def prune(client: Client, version: int) -> list[str]:
    """Delete libraries older than the version before this one; their names, once a primary.

    A process that still needs one loads it again, within its call.
    """
    deleted = []
    for where in primaries(client):
        for name in await _names(client, where):
            present = version_of(name)
            if present is not None and present < version - KEPT_VERSIONS:
                await _delete(client, name, where)
                deleted.append(name)
    return deleted


async def _load(client: Client, library: Library, where: dict[str, Any]) -> None:
    present = await _revision(client, library, where)
    if present is None and not await _put_where_missing(client, library, where):
        present = await _revision(client, library, where)  # another process was quicker
    if present is not None and present < library.revision:
        await client.execute_command("FUNCTION LOAD", "REPLACE", library.text, **where)
        logger.info("replaced %s by revision %d", library.name, library.revision)


async def _revision(client: Client, library: Library, where: dict[str, Any]) -> int | None:
    try:
        found = await client.execute_command("FCALL", f"{library.prefix}revision", 0, **where)
    except ResponseError as error:
        if not is_missing(error):
            raise
        return None
    return int(found)


async def _put_where_missing(client: Client, library: Library, where: dict[str, Any]) -> bool:
    """False where there is one already, which may be newer."""
    try:
        await client.execute_command("FUNCTION LOAD", library.text, **where)
    except ResponseError as error:
        if "already exists" not in str(error):
            raise
        return False
    logger.info("loaded %s, revision %d", library.name, library.revision)
    return True


async def _names(client: Client, where: dict[str, Any]) -> list[str]:
    answer: Any = await client.execute_command("FUNCTION LIST", "LIBRARYNAME", ANY_LIBRARY, **where)
    found = [each if isinstance(each, dict) else _pairs(each) for each in answer]
    return [_text(each[name]) for each in found for name in each if _text(name) == "library_name"]


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    """An answer of the older protocol, which has no maps. Values may be lists; names are not."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def _delete(client: Client, name: str, where: dict[str, Any]) -> None:
    try:
        await client.execute_command("FUNCTION DELETE", name, **where)
    except ResponseError as error:
        if "not found" not in str(error).lower():  # else another one was quicker
            raise
    else:
        logger.info("deleted %s, which is too old to be in use", name)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
