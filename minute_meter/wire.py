"""Frames of the subprotocol as a client writes and reads them. Pure."""

import logging
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from meter import messages
from meter.messages import Drain, Error, Started, StopNotice, Stopped, Usage, Warning
from minute_meter.errors import InvalidStartError

logger = logging.getLogger("minute_meter")

# The longest message of the server is some hundred bytes; a later one may say more.
MAX_SERVER_FRAME_BYTES = 64 * 1024


class Ack(Struct, tag="ack", tag_field="type", frozen=True):
    """What is counted and what is durable. `heartbeats`: of how many heartbeat frames of this
    connection; None from a server that doesn't say."""

    counted_through: int
    durable_through: int
    session_seconds: int
    usage: Usage
    heartbeats: int | None = None


ServerMessage = Started | Ack | Warning | StopNotice | Stopped | Drain | Error


class _Tagged(Struct):
    type: str


_decoder = msgspec.json.Decoder(ServerMessage)
_tag_decoder = msgspec.json.Decoder(_Tagged)
_TYPES = frozenset({"started", "ack", "warning", "stop", "stopped", "drain", "error"})


def decode(frame: str | bytes) -> ServerMessage | None:
    """Parse a server's frame. None for a message of a type that this version doesn't know, and for
    one it cannot read, which is logged: a client that gave up its session over it would lose more.
    """
    try:
        message: ServerMessage = _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if _tag(frame) in _TYPES | {None}:
            logger.warning("the server sent a message that cannot be read: %s", error)
        return None
    return message


def _tag(frame: str | bytes) -> str | None:
    try:
        return _tag_decoder.decode(frame).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


# As long as any: what fits at first fits with an origin, too.
_ANY_ORIGIN = 9_999_999_999


def start(
    token: str,
    session_id: UUID,
    kind: str,
    metadata: dict[str, Any],
    origin: int | None = None,
) -> str:
    """`start`, with the origin that an earlier `started` told, if any.

    Raises `InvalidStartError` for what the server would refuse by its own types, with an origin.
    """
    message = messages.Start(
        token=token,
        session_id=session_id,
        kind=kind,
        metadata=metadata,
        origin=_ANY_ORIGIN if origin is None else origin,
    )
    try:
        frame = msgspec.json.encode(message)
        messages.decode(frame)
        if origin is None:
            frame = msgspec.json.encode(msgspec.structs.replace(message, origin=msgspec.UNSET))
    except messages.MessageError as error:
        raise InvalidStartError(error.detail) from None
    except (TypeError, ValueError) as error:
        raise InvalidStartError(str(error)) from error
    return frame.decode()


def heartbeat(first: int, last: int) -> str:
    """`heartbeat` for the seconds from `first` to `last`, inclusive."""
    if first == last:
        return f'{{"type":"heartbeat","second":{first}}}'
    return f'{{"type":"heartbeat","from":{first},"to":{last}}}'


def refresh(token: str) -> str:
    """`refresh`."""
    return msgspec.json.encode(messages.Refresh(token)).decode()


STOP = '{"type":"stop"}'
