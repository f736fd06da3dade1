"""Rows of statements as the messages that the gateway sends."""

from typing import TypeVar

import msgspec

from persistence.database import Connection
from persistence.statements import statement

Kind = TypeVar("Kind")


class Rows:
    """Statements on a connection whose rows have the fields of a message. Postgres makes each row
    JSON, so that every type of a column arrives as JSON has it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self, kind: type[Kind], name: str, *values: object) -> list[Kind]:
        """All rows, in the statement's order."""
        found = await self._connection.fetch(_as_json(name), *values)
        return [msgspec.json.decode(row[0], type=kind) for row in found]

    async def first(self, kind: type[Kind], name: str, *values: object) -> Kind | None:
        """The first row, if there is one."""
        found = await self.all(kind, name, *values)
        return found[0] if found else None

    async def one(self, kind: type[Kind], name: str, *values: object) -> Kind:
        """The row of a statement that always gives one."""
        found = await self.first(kind, name, *values)
        assert found is not None, name
        return found

    async def has(self, name: str, *values: object) -> bool:
        """Whether the statement gives a row."""
        return bool(await self._connection.fetch(statement(name), *values))

    async def do(self, name: str, *values: object) -> None:
        """Only do it."""
        await self._connection.execute(statement(name), *values)


def _as_json(name: str) -> str:
    return f"WITH found AS (\n{statement(name)}\n) SELECT to_jsonb(found)::text FROM found"
