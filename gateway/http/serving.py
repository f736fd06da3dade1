"""Answers requests by the table of operations."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from itertools import groupby
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.bearer import authenticate
from gateway.http.books import Books, Store
from gateway.http.downloads import Download
from gateway.http.operations import AnyOperation, Call, Needs, Streamed
from gateway.http.reading import read_body, read_key, read_params, read_raw_body
from gateway.http.telling import Teller
from gateway.identity import Identity
from gateway.problems import Problem, ProblemCode, refuse, unavailable
from gateway.tokens import Verifier
from meter.books import Claim, Reason, Refused
from meter.ledger.types import LedgerUnavailable, StorageUnavailable

BUSY_RETRY_SECONDS = 1

_encode = msgspec.json.Encoder().encode


class Server:
    """Serves operations for those whom the verifier knows."""

    def __init__(self, verifier: Verifier, store: Store, teller: Teller) -> None:
        self._verifier = verifier
        self._store = store
        self._teller = teller

    def routes(self, operations: Iterable[AnyOperation]) -> list[Route]:
        """One route a path, so that a wrong method is told all right ones."""
        ordered = sorted(operations, key=lambda each: each.path)
        return [
            self._route(path, {each.method: each for each in group})
            for path, group in groupby(ordered, key=lambda each: each.path)
        ]

    def _route(self, path: str, by_method: dict[str, AnyOperation]) -> Route:
        async def endpoint(request: Request) -> Response:
            method = "GET" if request.method == "HEAD" else request.method
            return await self._answer(by_method[method], request)

        return Route(path, endpoint, methods=list(by_method))

    async def _answer(self, operation: AnyOperation, request: Request) -> Response:
        identity = await authenticate(request, self._verifier, operation.scopes)
        params = read_params(request, operation.params)
        raw = b"" if operation.method == "GET" else await read_raw_body(request)
        body = read_body(request, raw, operation.body, may_lack=operation.may_lack_body)
        claim = _claim(operation, request, identity, raw)
        changed: set[str] = set()

        async def act(books: Books | None) -> Any:
            key = None if claim is None else claim.key
            return await operation.handler(Call(identity, params, body, books, key, changed))

        try:
            response = await self._perform(operation, claim, act)
        except (LedgerUnavailable, StorageUnavailable):
            raise unavailable() from None
        except Refused as error:
            raise problem_of(error) from None
        if changed:  # and it is committed
            await self._teller.tell(changed)
        return response

    async def _perform(
        self,
        operation: AnyOperation,
        claim: Claim | None,
        act: Callable[[Books | None], Awaitable[Any]],
    ) -> Response:
        if claim is not None:
            return await self._once(operation, claim, act)
        if operation.needs is Needs.NOTHING:
            return _response(operation, await act(None))
        opened = self._store.reading if operation.needs is Needs.READ else self._store.writing
        async with opened() as books:
            answer = await act(books)
        return _response(operation, answer)

    async def _once(
        self,
        operation: AnyOperation,
        claim: Claim,
        act: Callable[[Books | None], Awaitable[Any]],
    ) -> Response:
        """The answer is kept in the transaction that makes the change, so that there is never one
        without the other. What is refused changed nothing, and the key may be used again."""
        async with self._store.writing() as books:
            kept = await books.claim(claim)
            if kept is not None:
                return _json(kept.body, kept.status, {"idempotency-replayed": "true"})
            body = _encode(await act(books))
            await books.keep(claim, operation.status.value, body)
        return _json(body, operation.status.value)


def problem_of(error: Refused) -> Problem:
    """A refusal as the answer."""
    code = ProblemCode(error.reason.value)
    busy = error.reason is Reason.IDEMPOTENCY_KEY_IN_USE
    headers = {"retry-after": str(BUSY_RETRY_SECONDS)} if busy else {}
    return refuse(code, error.detail, headers)


def _claim(
    operation: AnyOperation, request: Request, identity: Identity, raw: bytes
) -> Claim | None:
    key = read_key(request) if operation.writes else None
    if key is None:
        return None
    target = request.scope.get("raw_path") or request.url.path.encode()
    digest = hashlib.sha256()
    for part in (operation.method.encode(), target, request.scope["query_string"], raw):
        digest.update(len(part).to_bytes(8, "big") + part)
    route = f"{operation.method} {operation.path}"
    return Claim(identity.organization_id, identity.user_id, route, key, digest.digest())


def _response(operation: AnyOperation, answer: Any) -> Response:
    if isinstance(answer, Streamed):
        return Download(answer)
    return _json(_encode(answer), operation.status.value)


def _json(body: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    headers = {"cache-control": "no-store", **(headers or {})}
    if status == HTTPStatus.NO_CONTENT:
        return Response(status_code=status, headers=headers)
    return Response(body, status, media_type="application/json", headers=headers)
