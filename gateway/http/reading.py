"""Reads requests: parameters, bounded JSON bodies, idempotency keys. Every refusal is a problem.

A name that isn't known is refused, and never passed over: a slip of the pen in the name of a limit,
or of whom it is for, would mean another one.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
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
_PATH_ID = re.compile(r"[^\s/\x00-\x1f\x7f](?:[^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?")
# What may be a name, and is so short and plain that a problem may repeat it.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read_params(request: Request, kind: type[Params]) -> Params:
    """The path's and the query's parameters. Raises `Problem` (400), also where the query has a
    name twice, or one that is none of the operation's."""
    known = [name for name in kind.__struct_fields__ if name not in request.path_params]
    names = [name for name, _ in request.query_params.multi_items()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise refuse(ProblemCode.UNKNOWN_PARAMETER, _unknown_text("parameter", unknown, known))
    if len(set(names)) < len(names):
        raise _bad_request("a parameter is given twice")
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
    """The JSON body. Raises `Problem`: 415 another media type or a compressed body, 400 no JSON,
    422 another shape, or a field that isn't known."""
    if kind is Nothing or (may_lack and not raw):
        return kind()
    _check_media_type(request)
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        given, wrong = _any_json(raw), f"the body is wrong: {error}"
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _bad_request("the body is no JSON") from None
    known = getattr(kind, "__struct_fields__", ())
    unknown = [name for name in given if name not in known] if isinstance(given, dict) else []
    if unknown:
        raise refuse(ProblemCode.UNKNOWN_FIELD, _unknown_text("field", unknown, known))
    raise refuse(ProblemCode.INVALID_BODY, wrong)


def _check_media_type(request: Request) -> None:
    """Raises `Problem` (415)."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise refuse(
            ProblemCode.UNSUPPORTED_MEDIA_TYPE,
            "the body has to be sent as it is, without a `Content-Encoding`",
            {"accept-encoding": "identity"},
        )
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise refuse(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "the body has to be `application/json`")


def check_new_id(new_id: str) -> None:
    """Whether an id can be written in a path, and so be asked for. Raises `Problem` (422)."""
    if not _PATH_ID.fullmatch(new_id) or new_id in (".", ".."):
        raise refuse(
            ProblemCode.INVALID_VALUE,
            "an `id` is written in paths: without a slash, a control character or a space at its"
            " ends, and neither `.` nor `..`",
        )


def read_key(request: Request) -> str | None:
    """The idempotency key, if one was sent. Raises `Problem` (400)."""
    keys = request.headers.getlist(KEY_HEADER)
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise _bad_request("an `Idempotency-Key` is 1 to 255 visible characters of ASCII")
    return keys[0]


def _any_json(raw: bytes) -> object:
    """All of a body that was refused: what was refused may come before what is no JSON."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _bad_request("the body is no JSON") from None


def _unknown_text(what: str, unknown: Sequence[str], known: Iterable[str]) -> str:
    """Names the first one, if it looks like a name, and the known one that it is close to."""
    name = unknown[0]
    if not _NAME.fullmatch(name):
        return f"there is a {what} of a name that isn't known"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[.-]", "_", name).lower()
    close = get_close_matches(snake, known, n=1)
    meant = f"; `{close[0]}` may be meant" if close else ""
    return f"there is no {what} `{name}`{meant}"


def _bad_request(detail: str) -> Problem:
    return refuse(ProblemCode.BAD_REQUEST, detail)
