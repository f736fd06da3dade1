"""The documentation says what the code does."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from gateway.http.operations import AnyOperation
from gateway.problems import ProblemCode
from gateway.settings import GatewaySettings
from meter.codes import CloseCode, ErrorCode
from meter.messages import Ack, Started
from meter.ops_messages import EndedSession, SessionList, SessionRow
from meter.usage_messages import LimitCheck, LiveSession, UsageState
from persistence.settings import FlusherSettings, MigrateSettings
from tests.http.described import described_operations

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
RUNNING = (PROJECT / "docs" / "running.md").read_text()
PROTOCOL = (PROJECT / "docs" / "recorder-protocol.md").read_text()
DASHBOARDS = (PROJECT / "docs" / "dashboards.md").read_text()
OPERATORS = (PROJECT / "docs" / "operators.md").read_text()
HTTP_API = (PROJECT / "docs" / "http-api.md").read_text()
OPERATIONS = described_operations()


def settings_table() -> dict[str, str]:
    """Each documented variable, and its default as the page has it."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|[^|]*\|([^|]*)\|", RUNNING, re.MULTILINE)
    return {name: default.strip(" `") for name, default in rows}


@pytest.mark.parametrize("settings", [GatewaySettings, FlusherSettings, MigrateSettings])
def test_every_setting_is_documented_with_its_default(settings: type[BaseSettings]) -> None:
    documented = settings_table()
    for field in settings.model_fields.values():
        assert field.alias in documented
        if isinstance(field.default, int | float):
            assert documented[field.alias] == str(field.default).lower()


def test_no_setting_is_documented_that_does_not_exist() -> None:
    known = {
        field.alias
        for settings in (GatewaySettings, FlusherSettings, MigrateSettings)
        for field in settings.model_fields.values()
    }
    assert set(settings_table()) == known


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_close_code_is_documented(code: CloseCode) -> None:
    assert re.search(rf"\b{int(code)}\b", PROTOCOL)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_code_is_documented(code: ErrorCode) -> None:
    assert code.value in PROTOCOL or f"`{code.value}`" in OPERATORS


@pytest.mark.parametrize("message", [Started, Ack])
def test_every_field_of_the_main_answers_is_documented(message: type[Started | Ack]) -> None:
    for field in message.__struct_fields__:
        assert f"`{field}`" in PROTOCOL


@pytest.mark.parametrize("answer", [UsageState, LiveSession, LimitCheck])
def test_every_field_that_a_dashboard_gets_is_documented(
    answer: type[UsageState | LiveSession | LimitCheck],
) -> None:
    for field in answer.__struct_fields__:
        assert f'"{field}"' in DASHBOARDS


@pytest.mark.parametrize("answer", [SessionList, SessionRow, EndedSession])
def test_every_field_that_an_operator_gets_is_documented(
    answer: type[SessionList | SessionRow | EndedSession],
) -> None:
    for field in answer.__struct_fields__:
        assert f'"{field}"' in OPERATORS or f"`{field}`" in OPERATORS


@pytest.mark.parametrize("code", list(ProblemCode))
def test_every_problem_code_is_documented(code: ProblemCode) -> None:
    assert f"`{code.value}`" in HTTP_API


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_is_documented(operation: AnyOperation) -> None:
    method = "GET" if operation.name.startswith("post") else operation.method
    assert f"`{method} {operation.path}`" in HTTP_API


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_operations_scopes_are_documented(operation: AnyOperation) -> None:
    """In its row; else by its section's sentence, which may name another one for writes."""
    method = "GET" if operation.name.startswith("post") else operation.method
    named = f"`{method} {operation.path}`"
    (section,) = (
        each for each in HTTP_API.split("\n## ") if f"| {named}" in each or f", {named}" in each
    )
    scopes = r"((?:`\w+`(?: or )?)+)"
    row = re.search(rf"^\| {re.escape(named)} \| {scopes} \|", section, re.MULTILINE)
    if row is None:
        stated = re.search(rf"[Ss]cope {scopes}(?:, and {scopes} to)?", section)
        assert stated is not None
        row_scopes = (operation.writes and stated[2]) or stated[1]
    else:
        row_scopes = row[1]
    assert tuple(re.findall(r"\w+", row_scopes.replace(" or ", " "))) == operation.scopes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []
