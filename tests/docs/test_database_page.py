"""The page on the database names what is there."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "database.md").read_text()
SCHEMA = (PROJECT / "sql" / "schema.txt").read_text()

THERE = set(re.findall(r"^(?:TABLE|VIEW|FUNCTION) ([\w.]+)", SCHEMA, re.MULTILINE))
COLUMNS = set(re.findall(r"^    (\w+) ", SCHEMA, re.MULTILINE))


def named() -> list[str]:
    """What the tables' first columns name, and the last table's second one."""
    cells = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    cells += re.findall(r"^\| [A-E], [^|]* \| (.*?) \|", PAGE, re.MULTILINE)
    return sorted({name for cell in cells for name in re.findall(r"`(\w+(?:\.\w+)?)", cell)})


@pytest.mark.parametrize("name", named())
def test_each_name_is_in_the_schema(name: str) -> None:
    relation, _, column = name.partition(".")
    assert name in THERE or relation in THERE
    assert name in THERE or column in COLUMNS


def test_the_names_of_all_systems_are_read() -> None:
    assert {"usage_tracking", "track_usage", "interviews", "chat_responses"} <= set(named())
    assert len(named()) > 45
