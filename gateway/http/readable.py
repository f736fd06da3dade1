"""`/docs`: the descriptions of the API and of the WebSockets as one page for people."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]


def readable(openapi: Json, asyncapi: Json) -> str:
    """The page, made of what the machines get."""
    http, sockets = _http(openapi), _sockets(asyncapi)
    return f"""<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>API · Minute Meter</title>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <link rel="icon" href="/pages/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/pages/base.css">
    <link rel="stylesheet" href="/pages/docs.css">
  </head>
  <body>
    <header class="top">
      <p class="brand"><img src="/pages/icon.svg" alt="" width="28" height="28"> Minute Meter</p>
      <nav aria-label="Parts">
        <a href="#http">HTTP</a> <a href="#websockets">WebSockets</a> <a href="#types">Types</a>
        <a href="/openapi.json">openapi.json</a> <a href="/asyncapi.json">asyncapi.json</a>
      </nav>
    </header>
    <main>
      <h1>The API</h1>
      <p>{_text(openapi["info"]["description"])}</p>
      <section id="http"><h2>HTTP</h2>{http}</section>
      <section id="websockets"><h2>WebSockets</h2>
        <p>{_text(asyncapi["info"]["description"])}</p>{sockets}</section>
      <section id="types"><h2>Types</h2>{_types(openapi, asyncapi)}</section>
    </main>
  </body>
</html>
"""


def _text(text: str) -> str:
    """Escaped, with what stands between backquotes as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


# HTTP --------------------------------------------------------------------------------------------


def _http(openapi: Json) -> str:
    by_tag: dict[str, list[str]] = {tag["name"]: [] for tag in openapi["tags"]}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            by_tag[operation["tags"][0]].append(_operation(method.upper(), path, operation))
    return "".join(f"<h3>{escape(tag)}</h3>{''.join(each)}" for tag, each in by_tag.items())


def _operation(method: str, path: str, operation: Json) -> str:
    body = ""
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = f"<p>Body: {_type(schema)}</p>"
    answers = "".join(
        f"<li><b>{status}</b> {_text(answer['description'])}{_answer_type(answer)}</li>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{method}</b>'
        f" <code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"<p>{_text(operation['description'])}</p>"
        f"{_parameters(operation['parameters'])}{body}<ul>{answers}</ul></details>"
    )


def _answer_type(answer: Json) -> str:
    types = [
        _type(content["schema"])
        for kind, content in answer.get("content", {}).items()
        if kind != "application/problem+json"
    ]
    return f": {' or '.join(types)}" if types else ""


def _parameters(parameters: Iterable[Json]) -> str:
    rows = [
        (each["name"], each["in"], _type(each["schema"]), _note(each["schema"], each["required"]))
        for each in parameters
    ]
    return _table(("parameter", "in", "type", ""), rows) if rows else ""


# WebSockets --------------------------------------------------------------------------------------


def _sockets(asyncapi: Json) -> str:
    channels = asyncapi["channels"].items()
    return "".join(_channel(name, channel, asyncapi) for name, channel in channels)


def _channel(name: str, channel: Json, asyncapi: Json) -> str:
    parts = []
    for action, heading in (("receive", "From you"), ("send", "To you")):
        operation = asyncapi["operations"][f"{action}{name.title()}"]
        names = [each["$ref"].rpartition("/")[2] for each in operation["messages"]]
        messages = "".join(_message(asyncapi, each) for each in names)
        parts.append(f"<h4>{heading}</h4>{messages}")
    return (
        f"<h3><code>{escape(channel['address'])}</code></h3><p>{_text(channel['title'])}.</p>"
        f"{''.join(parts)}<p>{_text(channel['description'])}</p>"
    )


def _message(asyncapi: Json, name: str) -> str:
    message = asyncapi["components"]["messages"][name]
    schema = asyncapi["components"]["schemas"][name]
    return (
        f"<details><summary><code>{escape(message['name'])}</code></summary>"
        f"<p>{_text(message['summary'])}</p>{_properties(schema)}</details>"
    )


# Types -------------------------------------------------------------------------------------------


def _types(*descriptions: Json) -> str:
    schemas = {}
    for each in descriptions:
        schemas.update(each["components"]["schemas"])
    return "".join(
        f'<details id="type-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{_text(schema.get('description', ''))}</p>{_properties(schema)}</details>"
        for name, schema in sorted(schemas.items())
    )


def _properties(schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        (name, _type(each), _note(each, name in required))
        for name, each in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", ""), rows) if rows else ""


def _type(schema: Json) -> str:
    """A schema in a few words; types with a name lead to where they are described."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#type-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"list of {_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{_type(schema['additionalProperties'])} by name"
    return escape(str(schema.get("format", kind)))


_BOUNDS = (
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("minLength", "characters, at least"),
    ("maxLength", "characters, at most"),
    ("maxItems", "items, at most"),
    ("pattern", "matches"),
    ("default", "default"),
)


def _note(schema: Json, required: bool) -> str:
    known = [
        f"{words} <code>{escape(str(schema[key]))}</code>"
        for key, words in _BOUNDS
        if schema.get(key) is not None  # to be null by default is to be optional
    ]
    return "; ".join(["required", *known] if required else known)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """The first column is code, the others are markup already."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    lines = "".join(
        f"<tr><td><code>{escape(first)}</code></td>"
        + "".join(f"<td>{cell}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'
