"""Reads requests: parameters, bounded JSON bodies, idempotency keys. Every refusal is a problem."""

import re
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from gateway.http.operations import Nothing
from gateway.problems import Problem, ProblemCode, refuse

MAX_BODY_BYTES = 64 * 1024
KEY_HEADER = "idempotency-key"
# Visible ASCII, as the IETF's draft of the header has it at most.
KEY_PATTERN = r"[!-~]{1,255}"

Wanted = TypeVar("Wanted")
Params = TypeVar("Params", bound=msgspec.Struct)

_KEY = re.compile(KEY_PATTERN)


def read_params(request: Request, kind: type[Params]) -> Params:
    """The path's and the query's parameters. Raises `Problem` (400)."""
    given = {**request.query_params, **request.path_params}
    try:
        params = msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise _bad_request(f"a parameter is wrong: {error}") from None
    for name in kind.__struct_fields__:
        if name in given and getattr(params, name) is None:
            raise _bad_request(f"a parameter is wrong: `null` is no value of `{name}`")
    return params


async def read_raw_body(request: Request) -> bytes:
    """All of the body. Raises `Problem` (413) as soon as it is too long."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise refuse(
                    ProblemCode.BODY_TOO_LARGE, f"a body holds at most {MAX_BODY_BYTES} bytes"
                )
            parts.append(part)
    except ClientDisconnect:
        raise _bad_request("the body was cut off") from None
    return b"".join(parts)


def read_body(
    request: Request, raw: bytes, kind: type[Wanted], *, may_lack: bool = False
) -> Wanted:
    """The JSON body. Raises `Problem`: 415 another media type, 400 no JSON, 422 another shape."""
    if kind is Nothing or (may_lack and not raw):
        return kind()
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise refuse(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "the body has to be `application/json`")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise refuse(ProblemCode.INVALID_BODY, f"the body is wrong: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _bad_request("the body is no JSON") from None


def read_key(request: Request) -> str | None:
    """The idempotency key, if one was sent. Raises `Problem` (400)."""
    keys = request.headers.getlist(KEY_HEADER)
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise _bad_request("an `Idempotency-Key` is 1 to 255 visible characters of ASCII")
    return keys[0]


def _bad_request(detail: str) -> Problem:
    return refuse(ProblemCode.BAD_REQUEST, detail)
