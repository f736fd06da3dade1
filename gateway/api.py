"""Which pages of other origins may call `/api` (CORS, as the Fetch standard has it), and that
whatever goes wrong with a request, there or elsewhere, is told as a problem (RFC 9457)."""

import logging
from collections.abc import Set
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem, ProblemCode, refuse

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("Authorization", "Idempotency-Key")
# Scripts of other origins may read these of an answer, beside its body and content type.
RESPONSE_HEADERS = (
    "Content-Disposition",
    "Idempotency-Replayed",
    "Retry-After",
    "WWW-Authenticate",
)
PREFLIGHT_SECONDS = 600

_PROBLEMS = {
    HTTPStatus.NOT_FOUND: (ProblemCode.NOT_FOUND, "there is nothing at this path"),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        ProblemCode.METHOD_NOT_ALLOWED,
        "this path answers other methods; `Allow` names them",
    ),
}
_BAD_REQUEST = (ProblemCode.BAD_REQUEST, "the request can't be read")
_INTERNAL_ERROR = (ProblemCode.INTERNAL_ERROR, "this went wrong here, and is logged")


def api_middleware(allowed_origins: Set[str]) -> list[Middleware]:
    """From the outside in: a failure's answer has its CORS headers too."""
    return [Middleware(_CrossOrigin, allowed_origins=allowed_origins), Middleware(_Failures)]


def is_api(path: str) -> bool:
    """Whether a path is of the API."""
    return path == "/api" or path.startswith("/api/")


def answer_http_error(_: Request, error: Exception) -> Response:
    """Starlette's handler of its own errors: of a path that isn't there, or a wrong method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    others = _INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _BAD_REQUEST
    code, detail = _PROBLEMS.get(status, others)
    return Problem(status, code, detail, error.headers).response()


async def _upgrade_required(_: Request) -> Response:
    raise refuse(
        ProblemCode.UPGRADE_REQUIRED,
        "a WebSocket is spoken here",
        {"upgrade": "websocket", "connection": "Upgrade"},
    )


upgrade_routes: Final = [
    Route(path, _upgrade_required, methods=["GET"])
    for path in ("/v1/record", "/v1/usage", "/v1/ops")
]
"""What the WebSockets' paths answer to a request without an upgrade (RFC 9110, 15.5.22)."""


class _CrossOrigin:
    """Tells browsers that pages of the allowed origins may call the API, and nobody else's.

    Tokens are sent by scripts, never by browsers on their own: credentials aren't allowed.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Set[str]) -> None:
        self._app = app
        self._allowed_origins = allowed_origins
        self._shared = CORSMiddleware(
            app,
            allow_origins=tuple(allowed_origins),
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            max_age=PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        if not self._allowed_origins >= set(Headers(scope=scope).getlist("origin")):
            # As if it had none: no CORS header at all, and a preflight is just a wrong method.
            others = [header for header in scope["headers"] if header[0] != b"origin"]
            scope = {**scope, "headers": others}
        await self._shared(scope, receive, send)


class _Failures:
    """What nobody thought of is logged, and told without any of its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if begun:
                raise  # the answer is cut off, and the server logs why
            logger.exception("%s %r failed", scope["method"], scope["path"])
            failure = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, *_INTERNAL_ERROR)
            await failure.response()(scope, receive, send)
