"""The pages for those who come from another system name what is there."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateway.http.openapi import describe
from tests.docs.test_database_page import SCHEMA, THERE
from tests.http.described import described_operations

PROJECT = Path(__file__).parents[2]
PAGES = sorted((PROJECT / "docs" / "from").glob("*.md"))
ROUTES = {f"{each.method} {each.path}" for each in described_operations()}
PARTS = re.findall(r"^(?:TABLE|VIEW) (\w+)\n((?: +.*\n)*)", SCHEMA, re.MULTILINE)
COLUMNS = {
    f"{relation}.{column}"
    for relation, part in PARTS
    for column in re.findall(r"^    ([a-z]\w+) ", part, re.MULTILINE)
}
TYPES = set(
    re.findall(
        r"^ +\('(\w+)', '\w+', '(?:day|month|lifetime)'\)",
        "".join(path.read_text() for path in (PROJECT / "sql" / "migrations").glob("*.sql")),
        re.MULTILINE,
    )
)
# What a cell names besides: messages of the WebSocket, and their fields.
MESSAGES = {"start", "warning", "stop", "grace_seconds"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def answers(page: Path) -> list[str]:
    """Names in the second column of the tables, that of what there is here."""
    rows = re.findall(r"^\|([^|]*)\|([^|]*)\|", page.read_text(), re.MULTILINE)
    return [name for _, here in rows for name in re.findall(r"`([^`]+)`", here)]


@cache
def described_fields() -> set[str]:
    """All fields of requests and answers."""

    def fields(part: Any) -> set[str]:
        below = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        found = (
            set(part["properties"]) if isinstance(part, dict) and "properties" in part else set()
        )
        return found.union(*map(fields, below))

    return fields(describe(described_operations(), "0"))


def fields_of(example: Any) -> set[str]:
    """All keys of an example."""
    if isinstance(example, list):
        return set().union(*map(fields_of, example))
    if isinstance(example, dict):
        return set(example).union(*map(fields_of, example.values()))
    return set()


def is_there(name: str) -> bool:
    """Whether a route, a page, a test, or something in the database is there."""
    if name in ROUTES | MESSAGES:
        return True
    if name.startswith("/"):
        return name == "/v1/usage" or (PROJECT / f"gateway/static/pages{name}.html").exists()
    if name.startswith("tests/"):
        path, _, test = name.partition("::")
        return f"def {test}(" in (PROJECT / path).read_text()
    if re.fullmatch(r"\w+\.\w+", name):
        return name in COLUMNS
    column = any(name == each.partition(".")[2] for each in COLUMNS)
    return column or name in TYPES or re.sub(r"\(.*\)$", "", name) in THERE


@each_page
def test_each_answer_is_there(page: Path) -> None:
    assert [name for name in answers(page) if not is_there(name)] == []
    assert len(answers(page)) > 8


@each_page
def test_examples_have_the_fields_that_answers_have(page: Path) -> None:
    examples = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        assert fields_of(json.loads(example)) <= described_fields()


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)[)#]", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_there_is_one_for_each_system_and_the_readme_leads_to_it() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert len(PAGES) == 5
    assert [page.name for page in PAGES if f"(docs/from/{page.name})" not in readme] == []
