"""The gateway's application: its routes, and what runs beside them while it lives."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from gateway.api import answer_http_error, api_middleware, upgrade_routes
from gateway.check_limit import LimitChecker
from gateway.counter import Counter
from gateway.health import Health
from gateway.http.books import Store
from gateway.http.table import Api
from gateway.http.telling import Teller
from gateway.http.tracking import MinuteTracker
from gateway.jwks import RemoteKeys
from gateway.metrics import Metrics
from gateway.opener import Opener
from gateway.operators import Operators
from gateway.ops_pages import OperatorPages
from gateway.ops_socket import OperatorSockets
from gateway.pages import routes as page_routes
from gateway.problems import Problem, answer_problem
from gateway.record import PING_SECONDS, RecordContext, Recorders
from gateway.settings import GatewaySettings
from gateway.tokens import Verifier
from gateway.upgrade import upgrade_protocol
from gateway.usage_socket import Dashboards
from gateway.watchers import Watchers
from gateway.webhooks import PaymentEvents, Webhooks
from meter.ledger.driver import Ledger
from meter.ledger.types import Storage
from meter.messages import MAX_FRAME_BYTES

logger = logging.getLogger(__name__)

# What was heard before the end is counted, if the ledger takes it in this time.
SETTLE_SECONDS = 2.0


@dataclass(slots=True)
class Parts:
    """What a running gateway is made of."""

    ledger: Ledger
    storage: Storage
    metrics: Metrics
    counter: Counter
    health: Health
    context: RecordContext
    recorders: Recorders
    watchers: Watchers
    dashboards: Dashboards
    limit_checker: LimitChecker
    operators: Operators
    operator_pages: OperatorPages
    operator_sockets: OperatorSockets
    api: Api
    webhooks: Webhooks | None


def build_parts(
    settings: GatewaySettings,
    ledger: Ledger,
    storage: Storage,
    store: Store,
    payment_events: PaymentEvents | None = None,
) -> Parts:
    """Wire a gateway's parts together."""
    metrics = Metrics()
    opener = Opener(ledger, storage)
    counter = Counter(
        ledger, opener, storage, metrics, settings.batch_seconds, settings.stop_wait_seconds
    )
    metrics.undurable.set_function(counter.undurable_seconds)
    metrics.ended_kept.set_function(lambda: counter.keeper.ended)
    context = _context(settings, counter, metrics)
    watchers = Watchers(ledger, opener)
    operators = Operators(ledger, storage)
    operator_pages = OperatorPages(operators)
    limit_checker = LimitChecker(ledger, opener)
    webhooks = None if payment_events is None else Webhooks(payment_events, metrics)
    return Parts(
        ledger=ledger,
        storage=storage,
        metrics=metrics,
        counter=counter,
        health=Health(
            ledger=ledger,
            storage=storage,
            metrics=metrics,
            keys=context.verifier.remote_keys,
            is_draining=lambda: context.draining,
            behind_after_seconds=settings.behind_after_seconds,
        ),
        context=context,
        recorders=Recorders(context),
        watchers=watchers,
        dashboards=Dashboards(context, watchers),
        limit_checker=limit_checker,
        operators=operators,
        operator_pages=operator_pages,
        operator_sockets=OperatorSockets(context, operators, operator_pages),
        api=Api(
            context.verifier,
            store,
            limit_checker,
            MinuteTracker(ledger, storage, opener, store, counter.keeper),
            operators,
            Teller(ledger, store),
            None if webhooks is None else webhooks.described(),
        ),
        webhooks=webhooks,
    )


def _context(settings: GatewaySettings, counter: Counter, metrics: Metrics) -> RecordContext:
    return RecordContext(
        counter=counter,
        verifier=_verifier(settings),
        metrics=metrics,
        times=settings.times,
        rules=settings.rules,
        allowed_origins=settings.allowed_origins,
        max_connections=settings.max_connections,
    )


def _verifier(settings: GatewaySettings) -> Verifier:
    secret, url = settings.jwt_secret, settings.jwks_url
    keys: str | RemoteKeys
    if secret is not None:
        keys = secret.get_secret_value()
    else:
        assert url is not None  # the settings have one of the two
        keys = RemoteKeys(url.get_secret_value(), refresh_seconds=settings.jwks_refresh_seconds)
    return Verifier(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        claims=settings.claim_names,
    )


def server_config(parts: Parts, host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves a gateway: `/v1/record` by its own protocol, the rest by Starlette."""
    return uvicorn.Config(
        build_app(parts),
        host=host,
        port=port,
        http="httptools",
        ws=upgrade_protocol({b"/v1/record": parts.recorders.protocol}),
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
        backlog=4096,
    )


def build_app(parts: Parts) -> Starlette:
    """The ASGI application: all but `/v1/record`, which `server_config` sees to."""
    keys = parts.context.verifier.remote_keys

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(parts.counter.run()),
                group.create_task(parts.watchers.run()),
                group.create_task(parts.operator_pages.run()),
                group.create_task(_ticks(parts)),
            ]
            if keys is not None:
                running.append(group.create_task(keys.run()))
            yield
            parts.recorders.close()
            await parts.counter.settle(SETTLE_SECONDS)
            for task in running:
                task.cancel()
            await parts.counter.aclose()

    routes: list[BaseRoute] = [
        *parts.health.routes(),
        parts.dashboards.route(),
        parts.operator_sockets.route(),
        *upgrade_routes,
        *parts.api.routes(),
        *([] if parts.webhooks is None else [parts.webhooks.route()]),
        *page_routes,
    ]
    app = Starlette(
        routes=routes,
        middleware=api_middleware(parts.context.allowed_origins),
        lifespan=lifespan,
        exception_handlers={Problem: answer_problem, HTTPException: answer_http_error},
    )
    app.router.redirect_slashes = False  # nor is anybody led to what the `Host` header names
    return app


async def _ticks(parts: Parts) -> None:
    while True:
        await asyncio.sleep(1.0)
        try:
            parts.recorders.tick()
            parts.dashboards.tick()
            parts.operator_sockets.tick()
        except Exception:
            logger.exception("a connection's tick failed")
