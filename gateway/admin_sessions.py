"""`/api/admin/sessions`: operators' requests about live sessions."""

from uuid import UUID

import msgspec

from gateway.http.operations import AnyOperation, Call, Group, Needs, Nothing, Tag
from gateway.operators import Operators
from gateway.problems import Problem, ProblemCode, refuse
from meter.ledger.listing import DEFAULT_PAGE
from meter.ops_messages import (
    Cursor,
    EndedSession,
    OrganizationId,
    PageSize,
    SessionList,
    ended,
    page_request,
    session_list,
)

PATH = "/api/admin/sessions"


class PageQuery(msgspec.Struct, frozen=True):
    """The query of a listing."""

    organization_id: OrganizationId | None = None
    limit: PageSize = DEFAULT_PAGE
    cursor: Cursor | None = None


class SessionParams(msgspec.Struct, frozen=True):
    """Which session."""

    session_id: str


class AdminSessions:
    """Listing live sessions, and ending one."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    def operations(self) -> list[AnyOperation]:
        """The table's entries."""
        group = Group(Tag.SESSIONS, "admin")
        return [
            group.get(
                PATH,
                self.list_sessions,
                "Live sessions, those that began last first",
                needs=Needs.NOTHING,
            ),
            group.post(
                PATH + "/{session_id}/stop",
                self.stop_session,
                "End a session",
                needs=Needs.NOTHING,
                problems=(ProblemCode.SESSION_NOT_FOUND,),
            ),
        ]

    async def list_sessions(self, call: Call[PageQuery, Nothing]) -> SessionList:
        """Out of the ledger. With an organization, only its own."""
        query = call.params
        try:
            wanted = page_request(query.organization_id, query.limit, query.cursor)
        except ValueError as error:
            raise refuse(ProblemCode.BAD_REQUEST, f"the query is wrong: {error}") from None
        page = await self._operators.page(wanted)
        census = await self._operators.census() if wanted.organization_id is None else None
        return session_list(SessionList, wanted, page, census)

    async def stop_session(self, call: Call[SessionParams, Nothing]) -> EndedSession:
        """Nothing is counted in it any more, and its recorder is closed within 2 seconds. One that
        has ended stays as it is."""
        try:
            session_id = str(UUID(call.params.session_id))
        except ValueError:
            raise _not_found() from None
        state = await self._operators.stop(session_id, call.identity)
        if state is None:
            raise _not_found()
        return ended(EndedSession, state)


def _not_found() -> Problem:
    return refuse(ProblemCode.SESSION_NOT_FOUND, "there is no session of this id")
