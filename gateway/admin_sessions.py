"""`/api/admin/sessions`: operators' requests about live sessions."""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.bearer import authenticate
from gateway.operators import Operators
from gateway.problems import Problem, ProblemCode, unavailable
from gateway.tokens import Verifier
from meter.ledger.listing import DEFAULT_PAGE
from meter.ledger.types import LedgerUnavailable, StorageUnavailable
from meter.ops_messages import (
    Cursor,
    EndedSession,
    OrganizationId,
    PageSize,
    SessionList,
    encode_body,
    ended,
    page_request,
    session_list,
)

SCOPES = ("admin",)

Result = TypeVar("Result")


class PageQuery(msgspec.Struct, frozen=True):
    """The query of a listing."""

    organization_id: OrganizationId | None = None
    limit: PageSize = DEFAULT_PAGE
    cursor: Cursor | None = None


class AdminSessions:
    """Listing live sessions, and ending one."""

    def __init__(self, operators: Operators, verifier: Verifier) -> None:
        self._operators = operators
        self._verifier = verifier

    def routes(self) -> list[Route]:
        """Where it is asked."""
        path = "/api/admin/sessions"
        return [
            Route(path, self._list, methods=["GET"]),
            Route(path + "/{session_id}/stop", self._stop, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        await authenticate(request, self._verifier, SCOPES)
        try:
            query = msgspec.convert(dict(request.query_params), PageQuery, strict=False)
            wanted = page_request(query.organization_id, query.limit, query.cursor)
        except ValueError as error:  # msgspec's too
            raise Problem(
                HTTPStatus.BAD_REQUEST, ProblemCode.BAD_REQUEST, f"the query is wrong: {error}"
            ) from None
        page = await _now(self._operators.page(wanted))
        census = await _now(self._operators.census()) if wanted.organization_id is None else None
        return _answer(session_list(SessionList, wanted, page, census))

    async def _stop(self, request: Request) -> Response:
        operator = await authenticate(request, self._verifier, SCOPES)
        try:
            session_id = str(UUID(request.path_params["session_id"]))
        except ValueError:
            raise _not_found() from None
        state = await _now(self._operators.stop(session_id, operator))
        if state is None:
            raise _not_found()
        return _answer(ended(EndedSession, state))


async def _now(asked: Awaitable[Result]) -> Result:
    try:
        return await asked
    except (LedgerUnavailable, StorageUnavailable):
        raise unavailable() from None


def _not_found() -> Problem:
    return Problem(
        HTTPStatus.NOT_FOUND, ProblemCode.SESSION_NOT_FOUND, "there is no session of this id"
    )


def _answer(body: SessionList | EndedSession) -> Response:
    return Response(
        encode_body(body), media_type="application/json", headers={"cache-control": "no-store"}
    )
