"""The operators' wire messages (`/v1/ops`), and the answers of `/api/admin/sessions`.

What an operator is sent besides is the recorder's: `drain` and `error`.
"""

from typing import Annotated, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from meter.codes import ErrorCode
from meter.ledger.listing import (
    DEFAULT_PAGE,
    MAX_PAGE,
    Census,
    ListedSession,
    PageRequest,
    SessionPage,
    position,
)
from meter.ledger.types import SessionState
from meter.messages import MessageError, Refresh, ServerMessage, Token
from meter.usage_messages import parse

OrganizationId = Annotated[str, Meta(min_length=1, max_length=512)]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str, Meta(min_length=1, max_length=64)]


class Subscribe(Struct, tag="subscribe", tag_field="type", frozen=True):
    """Comes first, with a token; later, without one, it chooses another page."""

    token: Token | None = None
    organization_id: OrganizationId | None = None
    limit: PageSize = DEFAULT_PAGE
    cursor: Cursor | None = None

    def page(self) -> PageRequest:
        """The page that is asked for. Raises `MessageError`."""
        try:
            return page_request(self.organization_id, self.limit, self.cursor)
        except ValueError as error:
            raise MessageError(ErrorCode.BAD_MESSAGE, f"subscribe: {error}") from None


class StopSession(Struct, tag="stop", tag_field="type", frozen=True):
    """Ends a session, whoever's it is."""

    session_id: UUID


OpsMessage = Subscribe | StopSession | Refresh

_TYPES = frozenset({"subscribe", "stop", "refresh"})
_decoder: msgspec.json.Decoder[OpsMessage] = msgspec.json.Decoder(OpsMessage)


def decode(frame: str) -> OpsMessage:
    """Parse an operator's frame. Raises `MessageError`; its text never repeats the frame."""
    return parse(frame, _decoder, _TYPES)


def page_request(organization_id: str | None, limit: int, cursor: str | None) -> PageRequest:
    """What a page is asked for with. Raises ValueError when the cursor is none."""
    after = None if cursor is None else position(cursor)
    return PageRequest(organization_id, limit, after)


class SessionRow(Struct, frozen=True, gc=False):
    """A live session. `started_at` and `last_seen`, its last sign of life, are epoch seconds;
    `paused` says that nothing was recorded in the last seconds."""

    session_id: str
    organization_id: str
    user_id: str
    kind: str
    started_at: int
    session_seconds: int
    last_seen: int
    paused: bool


class SessionList(Struct, frozen=True):
    """A page of the live sessions, those that began last first.

    `total` and `organizations` count all live sessions and the organizations that have some, or
    those of the `organization_id` asked for; `by_organization` names the organizations with the
    most. `cursor` and `limit` are the page's own; `next_cursor` is null on the last page.
    """

    organization_id: str | None
    total: int
    organizations: int
    by_organization: dict[str, int]
    sessions: tuple[SessionRow, ...]
    limit: int
    cursor: str | None
    next_cursor: str | None


class Sessions(SessionList, tag="sessions", tag_field="type", frozen=True):
    """A `SessionList` as a frame."""


class EndedSession(Struct, frozen=True):
    """A session that has ended: `reason` is `admin`, or what it had ended with before. `ended_at`
    is in epoch seconds."""

    session_id: str
    organization_id: str
    reason: str
    session_seconds: int
    ended_at: int


class Stopped(EndedSession, tag="stopped", tag_field="type", frozen=True):
    """An `EndedSession` as a frame."""


class StopFailed(Struct, tag="error", tag_field="type", frozen=True):
    """A `stop` that came to nothing: an `error` that names the session."""

    session_id: str
    code: str
    message: str
    fatal: bool = False


Listed = TypeVar("Listed", bound=SessionList)
Over = TypeVar("Over", bound=EndedSession)


def session_list(
    kind: type[Listed], request: PageRequest, page: SessionPage, census: Census | None
) -> Listed:
    """A page as it is told; the census only where all organizations are asked for."""
    organization = request.organization_id
    if organization is not None:
        census = Census(min(page.total, 1), {organization: page.total} if page.total else {})
    assert census is not None
    return kind(
        organization_id=organization,
        total=page.total,
        organizations=census.organizations,
        by_organization=dict(census.largest),
        sessions=tuple(map(_row, page.sessions)),
        limit=request.limit,
        cursor=request.after.cursor() if request.after else None,
        next_cursor=page.next.cursor() if page.next else None,
    )


def _row(session: ListedSession) -> SessionRow:
    return SessionRow(
        session_id=session.session_id,
        organization_id=session.organization_id,
        user_id=session.user_id,
        kind=session.kind,
        started_at=session.origin,
        session_seconds=session.seconds,
        last_seen=session.seen,
        paused=session.paused,
    )


def ended(kind: type[Over], state: SessionState) -> Over:
    """A session that has ended, as it is told."""
    assert state.ended_at is not None
    return kind(
        session_id=state.key.session_id,
        organization_id=state.key.organization_id,
        reason=state.end_reason or "",
        session_seconds=state.seconds,
        ended_at=state.ended_at,
    )


_encoder = msgspec.json.Encoder()


def encode(message: Sessions | Stopped | StopFailed | ServerMessage) -> str:
    """One text frame."""
    return _encoder.encode(message).decode()


def encode_body(answer: SessionList | EndedSession) -> bytes:
    """A response's body."""
    return _encoder.encode(answer)
