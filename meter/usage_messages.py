"""The dashboard's wire messages (`/v1/usage`), and the answer of `GET /api/usage/check-limit`.

What a dashboard is sent besides is the recorder's: `warning`, `stop`, `drain` and `error`.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

from meter.codes import ErrorCode
from meter.messages import (
    MAX_FRAME_BYTES,
    Binding,
    MessageError,
    Refresh,
    ServerMessage,
    Token,
    Usage,
    explain,
)


class Subscribe(Struct, tag="subscribe", tag_field="type", frozen=True):
    """Comes first: watches the account that the token is of."""

    token: Token


DashboardMessage = Subscribe | Refresh

Message = TypeVar("Message")

_TYPES = frozenset({"subscribe", "refresh"})
_decoder: msgspec.json.Decoder[DashboardMessage] = msgspec.json.Decoder(DashboardMessage)


def decode(frame: str) -> DashboardMessage:
    """Parse a dashboard's frame. Raises `MessageError`; its text never repeats the frame."""
    return parse(frame, _decoder, _TYPES)


def parse(frame: str, decoder: msgspec.json.Decoder[Message], types: frozenset[str]) -> Message:
    """Parse a frame as one of the messages of these types. Raises `MessageError`."""
    data = frame.encode(errors="surrogatepass")
    if len(data) > MAX_FRAME_BYTES:
        raise MessageError(ErrorCode.BAD_MESSAGE, f"a frame holds at most {MAX_FRAME_BYTES} bytes")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(data, error, types) from None


class LiveSession(Struct, frozen=True, gc=False):
    """A live session of the organization. `started_at` is in epoch seconds."""

    session_id: str
    user_id: str
    kind: str
    started_at: int
    session_seconds: int


class UsageState(Struct, tag="usage", tag_field="type", frozen=True):
    """An account as it is now. The sessions that began last are listed, the last one first;
    `active_session_count` counts those too that aren't."""

    usage: Usage
    active_session_count: int
    active_sessions: tuple[LiveSession, ...]


class LimitCheck(Struct, frozen=True):
    """Whether somebody may record on. The figures are those of the limit that binds, as in
    `usage`: exact in seconds, and in minutes for people.

    Used minutes are rounded up, the limit and what remains down. `percentage_used` is rounded
    down to a tenth, so that 100 says that nothing is left. Without a limit they are null. A credit
    given by hand may take `used_seconds` below zero, and what remains above the limit; minutes and
    the percentage are 0 then.
    """

    can_record: bool
    minutes_used: int
    minutes_limit: int | None
    minutes_remaining: int | None
    percentage_used: float | None
    used_seconds: int
    limit_seconds: int | None
    remaining_seconds: int | None
    unlimited: bool
    period_start: int
    period_end: int
    scope: Binding
    overage_seconds: int = 0
    overage_minutes: int = 0


_encoder = msgspec.json.Encoder()


def encode(message: UsageState | ServerMessage) -> str:
    """One text frame."""
    return _encoder.encode(message).decode()
