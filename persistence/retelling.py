"""Limits that are told once more, as the ledger may have come back with older ones: a replica that
was behind, or a server that was started anew from an older file."""

from persistence.database import Database
from persistence.statements import statement

# They are told between those that have changed, which aren't to wait behind all.
ORGANIZATIONS_A_TURN = 200


class Retelling:
    """Goes once through all organizations whose limits have ever changed. Others never had any
    that could be older. What it asks for is in Postgres, so any flusher tells it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: str | None = None

    @property
    def is_going_on(self) -> bool:
        """Whether there are some left."""
        return self._after is not None

    def begin(self) -> None:
        """Have all told once more, from the first one on."""
        self._after = ""

    async def go_on(self, most: int = ORGANIZATIONS_A_TURN) -> None:
        """Have the next ones told. Raises `StorageUnavailable`; then they still are the next."""
        if self._after is None:
            return
        after = self._after
        async with self._database.connection() as connection:
            last = await connection.fetchval(statement("untell_limits"), after, most)
        if self._after == after:  # it wasn't begun anew meanwhile
            self._after = last
