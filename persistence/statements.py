"""The statements of `sql/statements`, by name; each file says what its parameters are."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of `sql/statements/<name>.sql`."""
    return (files("sql") / "statements" / f"{name}.sql").read_text(encoding="utf-8")
