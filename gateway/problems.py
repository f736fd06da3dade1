"""What went wrong with an HTTP request, as `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

RETRY_AFTER_SECONDS = 2


class ProblemCode(StrEnum):
    """`code` of a problem; stable, for programs to branch on."""

    TOKEN_MISSING = "token_missing"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_REFUSED = "token_refused"
    NOT_ALLOWED = "not_allowed"
    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    SESSION_NOT_FOUND = "session_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INTERNAL_ERROR = "internal_error"
    STORAGE_UNAVAILABLE = "storage_unavailable"


class Problem(Exception):
    """Ends a request. `detail` is for people, and repeats nothing of the request."""

    def __init__(
        self,
        status: HTTPStatus,
        code: ProblemCode,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """As it goes out. Without a `type` of its own, a problem's title is its status' name."""
        body = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code.value,
            "detail": self.detail,
        }
        headers = {"cache-control": "no-store", **self.headers}
        return JSONResponse(
            body, self.status.value, headers=headers, media_type="application/problem+json"
        )


def unavailable() -> Problem:
    """Redis, Postgres or the URL of the keys cannot be asked now."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        ProblemCode.STORAGE_UNAVAILABLE,
        "this can't be answered now; try again soon",
        {"retry-after": str(RETRY_AFTER_SECONDS)},
    )


def answer_problem(_: Request, error: Exception) -> Response:
    """Starlette's handler of `Problem`."""
    assert isinstance(error, Problem)
    return error.response()
