"""`/asyncapi.json`: AsyncAPI 3.0 of the WebSockets, out of the types that validate the frames."""

from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from meter import messages, ops_messages, usage_messages
from meter.codes import SUBPROTOCOL, CloseCode

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Channel:
    """A WebSocket, and the messages that go over it."""

    name: str
    address: str
    title: str
    received: tuple[type, ...]
    sent: tuple[type, ...]
    subprotocol: str | None = None


_EVERYWHERE = (messages.Drain, messages.Error)

CHANNELS = (
    Channel(
        "record",
        "/v1/record",
        "Recorders: a heartbeat for every second that is recorded",
        get_args(messages.ClientMessage),
        get_args(messages.ServerMessage),
        SUBPROTOCOL,
    ),
    Channel(
        "usage",
        "/v1/usage",
        "Dashboards: how an account stands, whenever it changes",
        get_args(usage_messages.DashboardMessage),
        (usage_messages.UsageState, messages.Warning, messages.StopNotice, *_EVERYWHERE),
    ),
    Channel(
        "ops",
        "/v1/ops",
        "Operators: all live sessions, in pages",
        get_args(ops_messages.OpsMessage),
        (
            ops_messages.Sessions,
            ops_messages.Stopped,
            ops_messages.StopFailed,
            *_EVERYWHERE,
        ),
    ),
)


def describe(version: str) -> Json:
    """The whole description, from the gateway's side: it receives what clients send."""
    kinds = list(
        dict.fromkeys(kind for channel in CHANNELS for kind in channel.received + channel.sent)
    )
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    names = {kind: _name(schema["$ref"]) for kind, schema in zip(kinds, schemas, strict=True)}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:minute-meter:gateway",
        "info": {
            "title": "Minute Meter",
            "version": version,
            "description": "One JSON object a text frame, at most 4 KiB from clients."
            " The first frame carries a token.",
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _channel(channel, names) for channel in CHANNELS},
        "operations": {
            name: operation
            for channel in CHANNELS
            for name, operation in _operations(channel, names).items()
        },
        "components": {
            "messages": {names[kind]: _message(kind, names[kind]) for kind in kinds},
            "schemas": components,
        },
    }


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _channel(channel: Channel, names: dict[type, str]) -> Json:
    described: Json = {
        "address": channel.address,
        "title": channel.title,
        "description": "Close codes: "
        + ", ".join(f"{code.value} {code.name.lower()}" for code in CloseCode)
        + ". 4000 to 4499: reconnect. From 4500 on: don't.",
        "messages": {
            names[kind]: {"$ref": f"#/components/messages/{names[kind]}"}
            for kind in channel.received + channel.sent
        },
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }
    if channel.subprotocol is not None:
        headers = {
            "type": "object",
            "properties": {
                "Sec-WebSocket-Protocol": {"type": "string", "const": channel.subprotocol}
            },
        }
        described["bindings"]["ws"]["headers"] = headers
    return described


def _operations(channel: Channel, names: dict[type, str]) -> Json:
    directions = (("receive", channel.received), ("send", channel.sent))
    return {
        f"{action}{channel.name.title()}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "messages": [
                {"$ref": f"#/channels/{channel.name}/messages/{names[kind]}"} for kind in kinds
            ],
        }
        for action, kinds in directions
    }


def _message(kind: type, name: str) -> Json:
    config: Any = getattr(kind, "__struct_config__", None)
    tag = config.tag if config is not None else name
    return {
        "name": str(tag),
        "title": name,
        "summary": " ".join((kind.__doc__ or "").split()),
        "payload": {"$ref": REFERENCE.format(name=name)},
    }
