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
    UNKNOWN_PARAMETER = "unknown_parameter"
    NOT_FOUND = "not_found"
    SESSION_NOT_FOUND = "session_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UPGRADE_REQUIRED = "upgrade_required"
    LIMIT_REACHED = "limit_reached"
    TOO_MANY_SESSIONS = "too_many_sessions"
    SESSION_ENDED = "session_ended"
    SESSION_TOO_LONG = "session_too_long"
    MINUTE_IN_FUTURE = "minute_in_future"
    MINUTE_TOO_LATE = "minute_too_late"
    CONFLICT = "conflict"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID_BODY = "invalid_body"
    UNKNOWN_FIELD = "unknown_field"
    SIGNATURE_REFUSED = "signature_refused"
    INVALID_VALUE = "invalid_value"
    TOO_MANY_REQUESTS = "too_many_requests"
    INTERNAL_ERROR = "internal_error"
    STORAGE_UNAVAILABLE = "storage_unavailable"


STATUS_OF: dict[ProblemCode, HTTPStatus] = {
    ProblemCode.TOKEN_MISSING: HTTPStatus.UNAUTHORIZED,
    ProblemCode.TOKEN_EXPIRED: HTTPStatus.UNAUTHORIZED,
    ProblemCode.TOKEN_REFUSED: HTTPStatus.UNAUTHORIZED,
    ProblemCode.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    ProblemCode.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    ProblemCode.UNKNOWN_PARAMETER: HTTPStatus.BAD_REQUEST,
    ProblemCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ProblemCode.SESSION_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ProblemCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    ProblemCode.UPGRADE_REQUIRED: HTTPStatus.UPGRADE_REQUIRED,
    ProblemCode.LIMIT_REACHED: HTTPStatus.FORBIDDEN,
    ProblemCode.TOO_MANY_SESSIONS: HTTPStatus.CONFLICT,
    ProblemCode.SESSION_ENDED: HTTPStatus.CONFLICT,
    ProblemCode.SESSION_TOO_LONG: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProblemCode.MINUTE_IN_FUTURE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProblemCode.MINUTE_TOO_LATE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProblemCode.CONFLICT: HTTPStatus.CONFLICT,
    ProblemCode.IDEMPOTENCY_KEY_REUSED: HTTPStatus.CONFLICT,
    ProblemCode.IDEMPOTENCY_KEY_IN_USE: HTTPStatus.CONFLICT,
    ProblemCode.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.INVALID_BODY: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProblemCode.UNKNOWN_FIELD: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProblemCode.SIGNATURE_REFUSED: HTTPStatus.BAD_REQUEST,
    ProblemCode.INVALID_VALUE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProblemCode.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    ProblemCode.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
    ProblemCode.STORAGE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status that a problem of each code has."""


class Problem(Exception):
    """Ends a request. `detail` is for people, and repeats nothing of the request, but a
    name that isn't known."""

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


def refuse(code: ProblemCode, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """A problem with the status that its code has."""
    return Problem(STATUS_OF[code], code, detail, headers)


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
