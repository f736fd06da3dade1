"""`/openapi.json`: OpenAPI 3.1 out of the table of operations and the types that validate."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any, get_args

import msgspec

from gateway.http.operations import AnyOperation, Nothing, Streamed, Tag
from gateway.http.reading import KEY_HEADER, KEY_PATTERN, MAX_BODY_BYTES
from gateway.problems import STATUS_OF, ProblemCode

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"

_DESCRIPTION = f"""\
What is recorded is counted by the second. Requests carry a bearer token; problems are
`application/problem+json` (RFC 9457) with a `code` that stays. A write with an `Idempotency-Key` is
made once, and answered alike for 24 hours. Bodies hold at most {MAX_BODY_BYTES} bytes. Lists are
paged: `next_cursor` of one page is the `cursor` of the next."""

_PROBLEM: Json = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def describe(
    operations: Iterable[AnyOperation], version: str, others: Mapping[str, Json] | None = None
) -> Json:
    """The whole description: of operations, and of other paths that are described already."""
    ordered = sorted(operations, key=lambda each: each.path)
    schemas = _Schemas(ordered)
    paths: dict[str, Json] = {
        path: {each.method.lower(): _operation(each, schemas) for each in group}
        for path, group in groupby(ordered, key=lambda each: each.path)
    }
    paths.update(others or {})
    used = {name for item in paths.values() for each in item.values() for name in each["tags"]}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {"title": "Minute Meter", "version": version, "description": _DESCRIPTION},
        "tags": [{"name": tag.value} for tag in Tag if tag.value in used],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
        "security": [{"bearer": []}],
    }


def encode(description: Json) -> bytes:
    """For people too, with lines."""
    return msgspec.json.format(msgspec.json.encode(description), indent=1)


class _Schemas:
    """JSON Schemas of all types that go in and out, and of the parameters."""

    def __init__(self, operations: Iterable[AnyOperation]) -> None:
        wanted: dict[Any, None] = {}
        for operation in operations:
            for kind in (operation.body, operation.answer):
                if kind is not Nothing and kind is not Streamed:
                    wanted[kind] = None
        types = list(wanted)
        made, self.components = msgspec.json.schema_components(types, ref_template=REFERENCE)
        self._by_type: dict[Any, Json] = dict(zip(types, made, strict=True))

    def of(self, kind: Any) -> Mapping[str, Any]:
        """The schema of a body or an answer."""
        return self._by_type[kind]


def _operation(operation: AnyOperation, schemas: _Schemas) -> Json:
    scopes = " or ".join(f"`{scope}`" for scope in operation.scopes)
    told = (operation.handler.__doc__ or "").strip()
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.tag.value],
        "summary": operation.summary,
        "description": " ".join(f"{told} Needs the scope {scopes}.".split()),
        "parameters": [*_parameters(operation), *([_key()] if operation.writes else [])],
        "responses": _responses(operation, schemas),
    }
    if operation.takes_body:
        described["requestBody"] = {
            "required": not operation.may_lack_body,
            "content": {"application/json": {"schema": schemas.of(operation.body)}},
        }
    return described


def _parameters(operation: AnyOperation) -> Iterable[Json]:
    for field in msgspec.structs.fields(operation.params):
        in_path = "{" + field.encode_name + "}" in operation.path
        described: Json = {
            "name": field.encode_name,
            "in": "path" if in_path else "query",
            "required": in_path or field.required,
            "schema": _parameter_schema(field),
        }
        yield described


def _parameter_schema(field: msgspec.structs.FieldInfo) -> Json:
    """A parameter that isn't given is null: there is no way to write that in a URL."""
    others = tuple(each for each in get_args(field.type) if each is not type(None))
    kind = field.type
    if type(None) in get_args(field.type) and len(others) == 1:
        kind = others[0]
    (schema,), components = msgspec.json.schema_components([kind])
    if "$ref" in schema:  # an enum's
        schema = components[schema["$ref"].rpartition("/")[2]]
    if field.default not in (None, msgspec.NODEFAULT):
        schema = {**schema, "default": msgspec.to_builtins(field.default)}
    return dict(schema)


def _key() -> Json:
    return {
        "name": KEY_HEADER.title(),
        "in": "header",
        "required": False,
        "description": "The same key and request again: the same answer, and nothing is done.",
        "schema": {"type": "string", "pattern": f"^{KEY_PATTERN}$"},
    }


def _responses(operation: AnyOperation, schemas: _Schemas) -> Json:
    content: Json = {kind: {"schema": schema} for kind, schema in operation.streams.items()}
    if operation.answer is not Nothing and operation.answer is not Streamed:
        content["application/json"] = {"schema": schemas.of(operation.answer)}
    good: Json = {"description": operation.summary}
    if content:
        good["content"] = content
    return {str(operation.status.value): good, **refusals(operation.may_refuse)}


def refusals(codes: Iterable[ProblemCode]) -> Json:
    """The answers that are problems, by status."""
    by_status: dict[HTTPStatus, list[ProblemCode]] = {}
    for code in codes:
        by_status.setdefault(STATUS_OF[code], []).append(code)
    return {str(status.value): _refusal(by_status[status]) for status in sorted(by_status)}


def _refusal(codes: list[ProblemCode]) -> Json:
    status = STATUS_OF[codes[0]]
    schema: Json = {
        "allOf": [
            {"$ref": REFERENCE.format(name="Problem")},
            {"properties": {"code": {"enum": [code.value for code in codes]}}},
        ]
    }
    described: Json = {
        "description": f"{status.phrase}: " + ", ".join(f"`{code.value}`" for code in codes),
        "content": {"application/problem+json": {"schema": schema}},
    }
    headers = {
        HTTPStatus.UNAUTHORIZED: "WWW-Authenticate",
        HTTPStatus.TOO_MANY_REQUESTS: "Retry-After",
        HTTPStatus.SERVICE_UNAVAILABLE: "Retry-After",
    }
    if status in headers:
        described["headers"] = {headers[status]: {"schema": {"type": "string"}}}
    return described
