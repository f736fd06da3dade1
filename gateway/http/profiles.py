"""`/api/profile`: the token's user as a person, with responses and chats to use up."""

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import msgspec

from gateway.http.operations import AnyOperation, Call, Needs, Nothing, Operation, Tag
from gateway.http.paging import PageParams, page
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

USAGE, RECORD = ("usage", "record"), ("record",)

Place = tuple[datetime, UUID]


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
    return [
        Operation(
            method="GET",
            path="/api/profile/overview",
            name="profileOverview",
            tag=Tag.CREDITS,
            summary="Membership and minutes",
            scopes=USAGE,
            handler=overview,
            params=Nothing,
            body=Nothing,
            answer=Overview,
            needs=Needs.WRITE,
        ),
        Operation(
            method="GET",
            path="/api/profile/credits",
            name="profileCredits",
            tag=Tag.CREDITS,
            summary="Responses and chats: used, and left",
            scopes=USAGE,
            handler=credits_of,
            params=Nothing,
            body=Nothing,
            answer=Credits,
            needs=Needs.WRITE,
        ),
        *_chats(),
        *_responses(),
    ]


def _chats() -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/profile/chats",
            name="listChats",
            tag=Tag.CREDITS,
            summary="The chats, the last one first",
            scopes=USAGE,
            handler=list_chats,
            params=PageParams,
            body=Nothing,
            answer=Page[Chat],
        ),
        Operation(
            method="POST",
            path="/api/profile/chats",
            name="beginChat",
            tag=Tag.CREDITS,
            summary="Begin a chat",
            scopes=RECORD,
            handler=begin_chat,
            params=Nothing,
            body=NewChat,
            answer=Chat,
            needs=Needs.WRITE,
            status=HTTPStatus.CREATED,
            problems=(ProblemCode.LIMIT_REACHED,),
        ),
    ]


def _responses() -> list[AnyOperation]:
    return [
        Operation(
            method="GET",
            path="/api/profile/chats/{chat_id}/responses",
            name="listResponses",
            tag=Tag.CREDITS,
            summary="A chat's responses, the last one first",
            scopes=USAGE,
            handler=list_responses,
            params=ChatPageParams,
            body=Nothing,
            answer=Page[Response],
        ),
        Operation(
            method="POST",
            path="/api/profile/chats/{chat_id}/responses",
            name="beginResponse",
            tag=Tag.CREDITS,
            summary="Begin a response",
            scopes=RECORD,
            handler=begin_response,
            params=ChatParams,
            body=Nothing,
            answer=Response,
            needs=Needs.WRITE,
            status=HTTPStatus.CREATED,
            problems=(ProblemCode.LIMIT_REACHED,),
        ),
        Operation(
            method="PATCH",
            path="/api/profile/responses/{response_id}",
            name="endResponse",
            tag=Tag.CREDITS,
            summary="Say how a response ended",
            scopes=RECORD,
            handler=end_response,
            params=ResponseParams,
            body=ResponseChange,
            answer=Response,
            needs=Needs.WRITE,
        ),
    ]


async def overview(call: Call[Nothing, Nothing]) -> Overview:
    """Computed from what is recorded. Who asks for the first time is made known."""
    await call.books.init_user(call.identity.user_id, None)
    found = await call.books.overview(call.identity.user_id)
    if found is None:
        raise _not_found()
    return found


async def credits_of(call: Call[Nothing, Nothing]) -> Credits:
    """A null quota is unlimited. Who asks for the first time is made known."""
    await call.books.init_user(call.identity.user_id, None)
    found = await call.books.credits(call.identity.user_id)
    if found is None:
        raise _not_found()
    return found


async def list_chats(call: Call[PageParams, Nothing]) -> Page[Chat]:
    """The user's own."""
    params = call.params
    after = params.after(Place)
    found = await call.books.chats(call.identity.user_id, params.limit + 1, after)
    return page(params, found, lambda chat: (chat.created_at, chat.id))


async def begin_chat(call: Call[Nothing, NewChat]) -> Chat:
    """Uses up one of the chats that the plan includes."""
    await call.books.init_user(call.identity.user_id, None)
    return await call.books.add_chat(call.identity.user_id, call.body.title)


async def list_responses(call: Call[ChatPageParams, Nothing]) -> Page[Response]:
    params = call.params
    if not await call.books.has_chat(call.identity.user_id, params.chat_id):
        raise _not_found()
    found = await call.books.responses(
        call.identity.user_id, params.chat_id, params.limit + 1, params.after(Place)
    )
    return page(params, found, lambda response: (response.session_start, response.id))


async def begin_response(call: Call[ChatParams, Nothing]) -> Response:
    """Uses up one of the month's responses."""
    made = await call.books.add_response(call.identity.user_id, call.params.chat_id)
    if made is None:
        raise _not_found()
    return made


async def end_response(call: Call[ResponseParams, ResponseChange]) -> Response:
    """The first end that was told stays its time."""
    changed = await call.books.end_response(
        call.identity.user_id, call.params.response_id, call.body.completion_status
    )
    if changed is None:
        raise _not_found()
    return changed


def _not_found() -> Problem:
    return refuse(ProblemCode.NOT_FOUND, "the user has none of this id")
