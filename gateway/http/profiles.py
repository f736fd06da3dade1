"""`/api/profile`: the token's user as a person, with responses and chats to use up."""

from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from gateway.http.operations import AnyOperation, Call, Group, Needs, Nothing, Tag
from gateway.http.paging import Listing, PageParams
from gateway.problems import Problem, ProblemCode, refuse
from meter.admin_messages import Page
from meter.profile_messages import (
    Chat,
    Credits,
    NewChat,
    Overview,
    Response,
    ResponseChange,
)

Place = tuple[datetime, UUID]

CHATS: Listing[Chat] = Listing("chats", Place, lambda each: (each.created_at, each.id))
RESPONSES: Listing[Response] = Listing(
    "responses", Place, lambda each: (each.session_start, each.id)
)

Found = TypeVar("Found")


class ChatParams(msgspec.Struct, frozen=True):
    """Which chat."""

    chat_id: UUID


class ChatPageParams(PageParams, frozen=True, kw_only=True):
    """Which chat, and which part of its responses."""

    chat_id: UUID


class ResponseParams(msgspec.Struct, frozen=True):
    """Which response."""

    response_id: UUID


def operations() -> list[AnyOperation]:
    """The table's entries."""
    reads, records = Group(Tag.CREDITS, "usage", "record"), Group(Tag.CREDITS, "record")
    profile = "/api/profile"
    chats = profile + "/chats"
    responses = chats + "/{chat_id}/responses"
    full = (ProblemCode.LIMIT_REACHED,)
    return [
        # The first question makes somebody known.
        reads.get(
            profile + "/overview",
            overview,
            "Membership and minutes",
            name="profileOverview",
            needs=Needs.WRITE,
        ),
        reads.get(
            profile + "/credits",
            credits_of,
            "Responses and chats: used, and left",
            name="profileCredits",
            needs=Needs.WRITE,
        ),
        reads.get(chats, list_chats, "The chats, the last one first"),
        records.create(chats, begin_chat, "Begin a chat", problems=full, may_lack_body=True),
        reads.get(responses, list_responses, "A chat's responses, the last one first"),
        records.create(responses, begin_response, "Begin a response", problems=full),
        records.patch(
            profile + "/responses/{response_id}",
            end_response,
            "Say how a response ended",
            problems=(ProblemCode.CONFLICT,),
        ),
    ]


async def overview(call: Call[Nothing, Nothing]) -> Overview:
    """Computed from what is recorded. Who asks for the first time is made known."""
    await call.books.init_user(call.identity.user_id, None)
    return _there(await call.books.overview(call.identity.user_id))


async def credits_of(call: Call[Nothing, Nothing]) -> Credits:
    """A null quota is unlimited. Who asks for the first time is made known."""
    await call.books.init_user(call.identity.user_id, None)
    return _there(await call.books.credits(call.identity.user_id))


async def list_chats(call: Call[PageParams, Nothing]) -> Page[Chat]:
    """The user's own."""
    params = call.params
    after = CHATS.after(params)
    found = await call.books.chats(call.identity.user_id, params.limit + 1, after)
    return CHATS.page(params, found)


async def begin_chat(call: Call[Nothing, NewChat]) -> Chat:
    """Uses up one of the chats that the plan includes."""
    await call.books.init_user(call.identity.user_id, None)
    return await call.books.add_chat(call.identity.user_id, call.body.title)


async def list_responses(call: Call[ChatPageParams, Nothing]) -> Page[Response]:
    params = call.params
    if not await call.books.has_chat(call.identity.user_id, params.chat_id):
        raise _not_found()
    found = await call.books.responses(
        call.identity.user_id, params.chat_id, params.limit + 1, RESPONSES.after(params)
    )
    return RESPONSES.page(params, found)


async def begin_response(call: Call[ChatParams, Nothing]) -> Response:
    """Uses up one of the month's responses."""
    return _there(await call.books.add_response(call.identity.user_id, call.params.chat_id))


async def end_response(call: Call[ResponseParams, ResponseChange]) -> Response:
    """To tell it again changes nothing. Where it has ended otherwise, or is to go on after its end,
    that is a `conflict`."""
    changed = _there(
        await call.books.end_response(
            call.identity.user_id, call.params.response_id, call.body.completion_status
        )
    )
    if changed.completion_status != call.body.completion_status:
        raise refuse(
            ProblemCode.CONFLICT, f"the response has ended: it is {changed.completion_status}"
        )
    return changed


def _there(found: Found | None) -> Found:
    if found is None:
        raise _not_found()
    return found


def _not_found() -> Problem:
    return refuse(ProblemCode.NOT_FOUND, "the user has none of this id")
