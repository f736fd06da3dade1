"""Who may open which session: `start` and a verified token in, a request or refusal out. Pure."""

import re
from dataclasses import dataclass
from itertools import chain

import msgspec

from gateway.identity import Identity, TokenRefused
from gateway.pace import FRAMES_A_SECOND
from meter.codes import CLOSE_OF_END, CloseCode, ErrorCode
from meter.ledger.types import OpenRequest, OpenStatus, SessionKey
from meter.messages import MessageError, Start

# `\u0000` in JSON text, its backslash not itself escaped: Postgres' JSON has no NUL.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# What is nested deeper can be read, perhaps, and then not be written again: both recurse.
MAX_METADATA_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is closed: the fatal `error`, and the close code after it."""

    code: ErrorCode
    detail: str
    close: CloseCode


SCOPE_MISSING = Refusal(ErrorCode.NOT_ALLOWED, "scope `record` is needed", CloseCode.NOT_ALLOWED)
UNAVAILABLE = Refusal(
    ErrorCode.STORAGE_UNAVAILABLE,
    "sessions can't be opened now; try again soon",
    CloseCode.STORAGE_UNAVAILABLE,
)
BEGAN_ANEW = Refusal(
    ErrorCode.STORAGE_UNAVAILABLE,
    "the session was lost, and began anew elsewhere; come back for its beginning",
    CloseCode.STORAGE_UNAVAILABLE,
)
TAKEN_OVER = Refusal(
    ErrorCode.TAKEN_OVER,
    "another connection speaks for this session now",
    CloseCode.TAKEN_OVER,
)
OVERLOADED = Refusal(
    ErrorCode.OVERLOADED, "too many connections here; try again soon", CloseCode.OVERLOADED
)
TOO_MANY_FRAMES = Refusal(
    ErrorCode.OVERLOADED,
    f"more than {FRAMES_A_SECOND} frames a second that bring nothing new",
    CloseCode.OVERLOADED,
)
TOO_SLOW = Refusal(ErrorCode.TOO_SLOW, "this connection reads too slowly", CloseCode.TOO_SLOW)
NO_START = Refusal(ErrorCode.NO_START, "no `start` came in time", CloseCode.NO_START)
TOKEN_EXPIRED = Refusal(ErrorCode.TOKEN_EXPIRED, "the token has expired", CloseCode.TOKEN_EXPIRED)

_ENDED = Refusal(
    ErrorCode.SESSION_ENDED, "this session has ended; start another", CloseCode.SESSION_ENDED
)
_NOT_OPENED = {
    OpenStatus.FOREIGN: Refusal(
        ErrorCode.NOT_ALLOWED, "this session is another's", CloseCode.NOT_ALLOWED
    ),
    OpenStatus.LIMIT_REACHED: Refusal(
        ErrorCode.LIMIT_REACHED, "no seconds are left in this period", CloseCode.LIMIT_REACHED
    ),
    OpenStatus.TOO_MANY_SESSIONS: Refusal(
        ErrorCode.TOO_MANY_SESSIONS,
        "the account has as many live sessions as its plan allows; end one first",
        CloseCode.TOO_MANY_SESSIONS,
    ),
}


def checked(start: Start) -> Start:
    """The message, if all of it can be stored. Raises `MessageError`."""
    if not start.kind.isprintable():
        raise MessageError(ErrorCode.BAD_MESSAGE, "start: `kind` is printable text")
    if not _is_shallow(start.metadata):
        detail = f"start: `metadata` is nested {MAX_METADATA_DEPTH} deep at the most"
        raise MessageError(ErrorCode.BAD_MESSAGE, detail)
    if _NUL.search(_json(start.metadata)):
        raise MessageError(ErrorCode.BAD_MESSAGE, "start: `metadata` holds no NUL characters")
    return start


def open_request(start: Start, identity: Identity, owner: int) -> OpenRequest:
    """What the ledger is asked; `owner` marks the connection."""
    return OpenRequest(
        key=SessionKey(identity.organization_id, str(start.session_id)),
        user_id=identity.user_id,
        kind=start.kind,
        owner=owner,
        metadata=_json(start.metadata),
    )


def not_opened(status: OpenStatus) -> Refusal:
    """Why the ledger did not open a session."""
    return _NOT_OPENED.get(status, _ENDED)


def close_after(end_reason: str) -> CloseCode:
    """How a connection is closed whose session somebody else ended."""
    return CLOSE_OF_END.get(end_reason, CloseCode.SESSION_ENDED)


def token_refused(error: TokenRefused) -> Refusal:
    """Why a token was not good enough for `start`."""
    if error.expired:
        return Refusal(ErrorCode.TOKEN_EXPIRED, str(error), CloseCode.TOKEN_EXPIRED)
    return Refusal(ErrorCode.TOKEN_REFUSED, str(error), CloseCode.TOKEN_REFUSED)


def _is_shallow(metadata: dict[str, object]) -> bool:
    level: list[object] = [metadata]
    for _ in range(MAX_METADATA_DEPTH):
        dicts = [each.values() for each in level if isinstance(each, dict)]
        level = list(chain(*dicts, *(each for each in level if isinstance(each, list))))
    return not any(isinstance(each, dict | list) for each in level)


def _json(metadata: dict[str, object]) -> str:
    return msgspec.json.encode(metadata).decode() if metadata else ""
