"""What an operation of the API is: one entry says what it takes, gives and refuses.

Requests are validated and `/openapi.json` is made from the same entries.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from http import HTTPStatus
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import msgspec

from gateway.http.books import Books
from gateway.identity import Identity
from gateway.problems import ProblemCode

Params = TypeVar("Params", bound=msgspec.Struct)
Body = TypeVar("Body")
Answer = TypeVar("Answer")


class Nothing(msgspec.Struct, frozen=True):
    """No parameters, or no body."""


class Tag(StrEnum):
    """What operations are listed under."""

    USAGE = "Usage"
    USERS = "Users"
    BILLING = "Billing"
    CREDITS = "Credits"
    ACCOUNTS = "Operators: accounts"
    PLANS = "Operators: plans"
    SESSIONS = "Operators: sessions"
    REPORTS = "Operators: reports"
    PAYMENTS = "Payment provider"


class Needs(Enum):
    """What an operation asks of Postgres itself: nothing, a connection, or a transaction that is
    committed when it has succeeded. A write by idempotency key is always in a transaction."""

    NOTHING = "nothing"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Call(Generic[Params, Body]):
    """One request, read and validated."""

    identity: Identity
    params: Params
    body: Body
    opened: Books | None = None
    # The idempotency key, where one was sent.
    key: str | None = None
    # Organizations whose limits or adjustments the handler has changed: once that is committed, and
    # before it is answered, the ledger is told of them.
    changed: set[str] = field(default_factory=set)

    @property
    def books(self) -> Books:
        """Postgres, of an operation that needs it."""
        assert self.opened is not None
        return self.opened


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer in parts, of any length: `beginning`, then `parts`, which are made while they are
    sent. `headers` go out before."""

    beginning: bytes
    parts: AsyncGenerator[bytes, None]
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Params, Body, Answer]):
    """One entry. `params` holds the fields in the path's braces and those of the query; `streams`
    maps further media types of the answer to their schemas. A handler's docstring describes it."""

    method: str
    path: str
    name: str
    tag: Tag
    summary: str
    scopes: tuple[str, ...]
    handler: Callable[[Call[Params, Body]], Awaitable[Answer]]
    answer: type[Answer]
    params: type[Params]
    body: type[Body]
    needs: Needs = Needs.READ
    status: HTTPStatus = HTTPStatus.OK
    problems: tuple[ProblemCode, ...] = ()
    streams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # It changes nothing, whatever its method.
    asks: bool = False
    # No body at all is one without any fields.
    may_lack_body: bool = False

    @property
    def writes(self) -> bool:
        """Whether it changes anything, and so takes an `Idempotency-Key`."""
        return self.method != "GET" and not self.asks

    @property
    def takes_body(self) -> bool:
        """Whether there is something to send."""
        return self.body is not Nothing

    @property
    def may_refuse(self) -> tuple[ProblemCode, ...]:
        """All problems it may answer with, those of every operation included."""
        codes = [
            ProblemCode.TOKEN_MISSING,
            ProblemCode.TOKEN_EXPIRED,
            ProblemCode.TOKEN_REFUSED,
            ProblemCode.NOT_ALLOWED,
            ProblemCode.BAD_REQUEST,
            ProblemCode.UNKNOWN_PARAMETER,
            *self.problems,
        ]
        if "{" in self.path:
            codes.append(ProblemCode.NOT_FOUND)  # a path with a slash in a parameter
        if self.takes_body:
            codes += [
                ProblemCode.BODY_TOO_LARGE,
                ProblemCode.UNSUPPORTED_MEDIA_TYPE,
                ProblemCode.INVALID_BODY,
                ProblemCode.UNKNOWN_FIELD,
                ProblemCode.INVALID_VALUE,
            ]
        if self.writes:
            codes += [ProblemCode.IDEMPOTENCY_KEY_REUSED, ProblemCode.IDEMPOTENCY_KEY_IN_USE]
        codes += [ProblemCode.INTERNAL_ERROR, ProblemCode.STORAGE_UNAVAILABLE]
        return tuple(dict.fromkeys(codes))


AnyOperation = Operation[Any, Any, Any]
AnyHandler = Callable[[Call[Any, Any]], Awaitable[Any]]


class Group:
    """Operations with the same tag and scopes.

    What an operation takes and gives is what the types of its handler say, and its name is the
    handler's, in camel case, unless another is given. Writes are in a transaction, unless `needs`
    says otherwise.
    """

    def __init__(self, tag: Tag, *scopes: str) -> None:
        self._tag = tag
        self._scopes = scopes

    def get(self, path: str, handler: AnyHandler, summary: str, **more: Any) -> AnyOperation:
        """Reads something."""
        return self._entry("GET", path, handler, summary, **more)

    def post(self, path: str, handler: AnyHandler, summary: str, **more: Any) -> AnyOperation:
        """Makes or does something, or `asks`."""
        needs = Needs.READ if more.get("asks") else Needs.WRITE
        return self._entry("POST", path, handler, summary, **{"needs": needs, **more})

    def create(self, path: str, handler: AnyHandler, summary: str, **more: Any) -> AnyOperation:
        """Makes something; answered with 201."""
        return self.post(path, handler, summary, status=HTTPStatus.CREATED, **more)

    def put(self, path: str, handler: AnyHandler, summary: str, **more: Any) -> AnyOperation:
        """Makes something of this name, or sets it."""
        return self._entry("PUT", path, handler, summary, needs=Needs.WRITE, **more)

    def patch(self, path: str, handler: AnyHandler, summary: str, **more: Any) -> AnyOperation:
        """Changes what is given."""
        return self._entry("PATCH", path, handler, summary, needs=Needs.WRITE, **more)

    def delete(self, path: str, handler: AnyHandler, summary: str) -> AnyOperation:
        """Removes something; there is nothing to answer."""
        none = HTTPStatus.NO_CONTENT
        return self._entry("DELETE", path, handler, summary, needs=Needs.WRITE, status=none)

    def _entry(
        self, method: str, path: str, handler: AnyHandler, summary: str, **more: Any
    ) -> AnyOperation:
        types = get_type_hints(handler)
        params, body = get_args(types["call"])
        return Operation(
            method=method,
            path=path,
            name=more.pop("name", None) or _camel_case(handler.__name__),
            tag=self._tag,
            summary=summary,
            scopes=self._scopes,
            handler=handler,
            answer=types["return"],
            params=params,
            body=body,
            **more,
        )


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
