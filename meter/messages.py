"""The recorder's wire messages (subprotocol `minute-meter.v1`): one JSON object a text frame.

The types validate what comes in and encode what goes out; there is no other description of them.
Unknown fields are ignored; an unknown `type` and a malformed frame are told apart.
"""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from meter.codes import ErrorCode

MAX_FRAME_BYTES = 4096

# Seconds are bounded again by the ledger's rules; this bound keeps the number itself small.
Second = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Kind = Annotated[str, Meta(min_length=1, max_length=64)]
Token = Annotated[str, Meta(min_length=1, max_length=MAX_FRAME_BYTES)]


class Start(Struct, tag="start", tag_field="type", frozen=True):
    """Opens a session, or resumes it when it is live (or was lost not long ago).

    `origin` is what an earlier `started` said: should nobody know the session any more, it goes on
    from there."""

    token: Token
    session_id: UUID
    kind: Kind = "recording"
    metadata: dict[str, Any] = {}
    origin: Second | UnsetType | None = UNSET


class Heartbeat(Struct, tag="heartbeat", tag_field="type", frozen=True, gc=False):
    """Seconds in which something was recorded: one `second`, or `from` and `to`, inclusive."""

    second: Second | None = None
    first: Second | None = msgspec.field(default=None, name="from")
    last: Second | None = msgspec.field(default=None, name="to")

    def bounds(self) -> tuple[int, int] | None:
        """First and last second, inclusive; None when the fields don't make an interval."""
        if self.second is not None:
            return (self.second, self.second) if self.first is None and self.last is None else None
        if self.first is None or self.last is None or self.first > self.last:
            return None
        return self.first, self.last


class Stop(Struct, tag="stop", tag_field="type", frozen=True):
    """Ends the session."""


class Refresh(Struct, tag="refresh", tag_field="type", frozen=True):
    """A newer token for the same user, before the old one expires."""

    token: Token


ClientMessage = Start | Heartbeat | Stop | Refresh


class MessageError(Exception):
    """A frame that is no message, or one that doesn't fit here; `code` says which."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class _Tagged(Struct):
    type: str


_TYPES = frozenset({"start", "heartbeat", "stop", "refresh"})
_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_tag_decoder = msgspec.json.Decoder(_Tagged)


def decode(frame: str | bytes) -> ClientMessage:
    """Parse a client's frame. Raises `MessageError`; its text never repeats the frame."""
    if len(frame) > MAX_FRAME_BYTES or (
        not isinstance(frame, bytes) and _byte_length(frame) > MAX_FRAME_BYTES
    ):
        raise MessageError(ErrorCode.BAD_MESSAGE, f"a frame holds at most {MAX_FRAME_BYTES} bytes")
    try:
        return _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(frame, error, _TYPES) from None


def _byte_length(frame: str) -> int:
    return len(frame) if frame.isascii() else len(frame.encode(errors="surrogatepass"))


def explain(frame: str | bytes, error: Exception, types: frozenset[str]) -> MessageError:
    """Why a frame is none of the messages of these types."""
    try:
        tag = _tag_decoder.decode(frame).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return MessageError(ErrorCode.BAD_MESSAGE, "not a JSON object with a `type`")
    if tag not in types:
        names = ", ".join(sorted(types))
        return MessageError(ErrorCode.UNKNOWN_TYPE, f"`type` is one of: {names}")
    return MessageError(ErrorCode.BAD_MESSAGE, f"{tag}: {error}")


# Whose limit binds.
Binding = Annotated[str, Meta(extra_json_schema={"enum": ["organization", "member"]})]


class Usage(Struct, frozen=True):
    """An account's figures in the present period, in seconds; times are epoch seconds.

    `used_seconds` are those of the limit, `overage_seconds` those past it that the plan bills. A
    credit that was given by hand may take `used_seconds` below zero: more than the limit remains
    then."""

    used_seconds: int
    limit_seconds: int | None
    remaining_seconds: int | None
    unlimited: bool
    period_start: int
    period_end: int
    scope: Binding
    overage_seconds: int = 0


class Started(Struct, tag="started", tag_field="type", frozen=True):
    """Answers `start`. `origin` is second 0, in epoch seconds."""

    session_id: str
    origin: int
    server_time: float
    resumed: bool
    counted_through: int
    durable_through: int
    ack_seconds: int
    usage: Usage


class Ack(Struct, tag="ack", tag_field="type", frozen=True):
    """What is counted and what is durable, as of the first `heartbeats` heartbeat frames of
    this connection (so that a client that resends old seconds knows whether they are meant)."""

    counted_through: int
    durable_through: int
    session_seconds: int
    heartbeats: int
    usage: Usage


class Warning(Struct, tag="warning", tag_field="type", frozen=True):
    """A threshold that the account has passed: `remaining_minutes` or `percent`."""

    kind: str
    value: int
    usage: Usage


class StopNotice(Struct, tag="stop", tag_field="type", frozen=True):
    """The session must end: nothing after `last_second` is counted."""

    reason: str
    last_second: int
    grace_seconds: int


class Stopped(Struct, tag="stopped", tag_field="type", frozen=True):
    """The session has ended; the server closes next. `durable_through` as in `Ack`."""

    reason: str
    session_seconds: int
    durable_through: int = -1


class Drain(Struct, tag="drain", tag_field="type", frozen=True):
    """The gateway is going away, the session is not: reconnect after this long."""

    reconnect_after_ms: int


class Error(Struct, tag="error", tag_field="type", frozen=True):
    """Something was refused; when `fatal`, the server closes next."""

    code: str
    message: str
    fatal: bool


ServerMessage = Started | Ack | Warning | StopNotice | Stopped | Drain | Error

_encoder = msgspec.json.Encoder()


def encoded(message: ServerMessage) -> bytes:
    """One text frame's payload."""
    return _encoder.encode(message)


def encode(message: ServerMessage) -> str:
    """One text frame."""
    return encoded(message).decode()
