"""`/openapi.json` against the running service: schemathesis finds no server error, and no answer
that isn't described."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gateway.serving import token
from tests.http.conftest import Service
from tests.http.described import described_operations

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


async def test_every_answer_is_as_it_is_described(service: Service, tmp_path: Path) -> None:
    bearer = token("tenant", "alice", scope="record usage admin")
    await service.caller("tenant", "alice").post("/api/billing/init-user", {})
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run"),
        service.served.url("/openapi.json", "http"),
        *("--header", f"Authorization: Bearer {bearer}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "10", "--seed", "1", "--workers", "2", "--warnings", "off"),
        "--continue-on-failure",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()


async def test_every_operation_and_every_message_is_described(service: Service) -> None:
    openapi = (await service.client.get("/openapi.json")).json()
    assert openapi["openapi"].startswith("3.1")
    described = {
        (method.upper(), path)
        for path, operations in openapi["paths"].items()
        for method in operations
    }
    assert described == {(each.method, each.path) for each in described_operations()}
    names = [each.name for each in described_operations()]
    assert len(set(names)) == len(names)
    asyncapi = (await service.client.get("/asyncapi.json")).json()
    assert asyncapi["asyncapi"].startswith("3.0")
    assert {channel["address"] for channel in asyncapi["channels"].values()} == {
        "/v1/record",
        "/v1/usage",
        "/v1/ops",
    }
    sent = {message["name"] for message in asyncapi["components"]["messages"].values()}
    assert sent == {
        *("start", "heartbeat", "stop", "refresh", "subscribe"),
        *("started", "ack", "warning", "stopped", "drain", "error", "usage", "sessions"),
    }


async def test_no_text_that_is_taken_may_hold_a_nul(service: Service) -> None:
    """Postgres refuses it, in words of its own. (Live sessions are asked of the ledger alone.)"""
    openapi = (await service.client.get("/openapi.json")).json()
    texts = 0
    paths = openapi["paths"].items()
    asked = [each for path, each in paths if not path.startswith("/api/admin/sessions")]
    for operation in (each for operations in asked for each in operations.values()):
        taken = [each["schema"] for each in operation.get("parameters", ())]
        body = operation.get("requestBody")
        taken += [] if body is None else [body["content"]["application/json"]["schema"]]
        for text in (text for schema in taken for text in _texts(schema, openapi)):
            texts += 1
            if "enum" not in text and "format" not in text:
                for value in ("\0", "a\0", "\0a", "a\0a", "Meter/\0", "a@a\0.org"):
                    assert not re.search(text["pattern"], value), (operation["operationId"], text)
    assert texts > 50


def _texts(schema: Any, openapi: Any) -> Iterator[Any]:
    """The schemas of all strings in one, keys of objects included."""
    if isinstance(schema, list):
        for each in schema:
            yield from _texts(each, openapi)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield from _texts(
                openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]], openapi
            )
        if schema.get("type") == "string":
            yield schema
        if "propertyNames" in schema:
            yield {"type": "string", **schema["propertyNames"]}
        for name in ("anyOf", "items", "additionalProperties", "prefixItems"):
            yield from _texts(schema.get(name), openapi)
        for each in schema.get("properties", {}).values():
            yield from _texts(each, openapi)


def test_every_operation_takes_what_its_path_names() -> None:
    for each in described_operations():
        named = set(re.findall(r"{(\w+)}", each.path))
        assert named <= set(each.params.__struct_fields__), each.name
        assert each.handler.__doc__ or each.summary, each.name


async def test_every_reference_leads_somewhere(service: Service) -> None:
    for path in ("/openapi.json", "/asyncapi.json"):
        description = (await service.client.get(path)).json()
        references = set(_references(description))
        assert len(references) > 20
        for reference in references:
            found = description
            for part in reference.removeprefix("#/").split("/"):
                assert part.replace("~1", "/") in found, (path, reference)
                found = found[part.replace("~1", "/")]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


async def test_both_can_be_read_as_a_page_without_scripts(service: Service) -> None:
    response = await service.client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in response.headers["content-security-policy"]
    assert "<script" not in response.text
    for operation in described_operations():
        assert f"<code>{operation.path}</code>" in response.text
        assert f'id="{operation.name}"' in response.text
    for address in ("/v1/record", "/v1/usage", "/v1/ops"):
        assert f"<code>{address}</code>" in response.text
    for name in re.findall(r'href="#type-([^"]+)"', response.text):
        assert f'id="type-{name}"' in response.text
    assert (await service.client.get("/pages/docs.css")).status_code == 200


async def test_the_page_says_what_may_be_said_and_nothing_of_none(service: Service) -> None:
    page = (await service.client.get("/docs")).text
    assert "None" not in page
    for kind in ("Usage", "LimitCheck", "CurrentMonth", "PresentMonth"):
        _, _, described = page.partition(f'id="type-{kind}"')
        scope = described.partition("<code>scope</code>")[2].partition("</tr>")[0]
        assert "<code>organization</code> | <code>member</code>" in scope, kind
    assert "at most 1439 a call" in page
