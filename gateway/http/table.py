"""The table of all operations, with what describes it."""

from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.admin_sessions import AdminSessions
from gateway.check_limit import LimitChecker
from gateway.http import admin_accounts, admin_adjustments, admin_plans, profiles
from gateway.http.asyncapi import describe as describe_channels
from gateway.http.billing import BillingOperations
from gateway.http.books import Store
from gateway.http.openapi import Json, describe, encode
from gateway.http.operations import AnyOperation
from gateway.http.readable import readable
from gateway.http.reports import ReportOperations
from gateway.http.serving import Server
from gateway.http.spending import Spender
from gateway.http.telling import Teller
from gateway.http.tracking import MinuteTracker
from gateway.http.usage import UsageOperations
from gateway.operators import Operators
from gateway.pages import HEADERS as PAGE_HEADERS
from gateway.tokens import Verifier


class Api:
    """The JSON API of a gateway: `routes` serve the operations and their descriptions."""

    def __init__(
        self,
        verifier: Verifier,
        store: Store,
        checker: LimitChecker,
        tracker: MinuteTracker,
        operators: Operators,
        teller: Teller,
        others: Mapping[str, Json] | None = None,
    ) -> None:
        """`others` are described with the operations, and served elsewhere."""
        self.store = store
        self._others = others
        self._server = Server(verifier, store, teller)
        self.operations: list[AnyOperation] = [
            *UsageOperations(checker, tracker, teller).operations(),
            *BillingOperations(Spender(checker, tracker)).operations(),
            *profiles.operations(),
            *admin_accounts.operations(),
            *admin_plans.operations(),
            *admin_adjustments.operations(),
            *AdminSessions(operators).operations(),
            *ReportOperations(store).operations(),
        ]

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            *self._server.routes(self.operations),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/asyncapi.json", self._asyncapi, methods=["GET"]),
            Route("/docs", self._docs, methods=["GET"]),
        ]

    @cached_property
    def openapi(self) -> bytes:
        """The operations' description."""
        return encode(self._described)

    @cached_property
    def _described(self) -> Json:
        return describe(self.operations, _version(), self._others)

    @cached_property
    def page(self) -> str:
        """Both, for people."""
        return readable(self._described, describe_channels(_version()))

    @cached_property
    def asyncapi(self) -> bytes:
        """The WebSockets' description."""
        return encode(describe_channels(_version()))

    async def _openapi(self, _: Request) -> Response:
        return _described(self.openapi)

    async def _asyncapi(self, _: Request) -> Response:
        return _described(self.asyncapi)

    async def _docs(self, _: Request) -> Response:
        return HTMLResponse(self.page, headers=PAGE_HEADERS)


def _described(body: bytes) -> Response:
    # For tools of every origin: it is the same for everybody.
    headers = {"cache-control": "no-cache", "access-control-allow-origin": "*"}
    return Response(body, media_type="application/json", headers=headers)


def _version() -> str:
    try:
        return version("minute-meter")
    except PackageNotFoundError:
        return "0"
