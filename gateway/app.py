"""The gateway's application: its routes, and what runs beside them while it lives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from gateway.counter import Counter
from gateway.metrics import Metrics
from gateway.pages import routes as page_routes
from gateway.record import RecordContext, RecordEndpoint
from gateway.settings import GatewaySettings
from gateway.tokens import Verifier
from meter.ledger.driver import Ledger
from meter.ledger.types import LedgerUnavailable, Storage, StorageUnavailable

READY_TIMEOUT_SECONDS = 2.0


@dataclass(slots=True)
class Parts:
    """What a running gateway is made of."""

    ledger: Ledger
    storage: Storage
    metrics: Metrics
    counter: Counter
    context: RecordContext
    record: RecordEndpoint


def build_parts(settings: GatewaySettings, ledger: Ledger, storage: Storage) -> Parts:
    """Wire a gateway's parts together."""
    metrics = Metrics()
    counter = Counter(ledger, storage, metrics, settings.batch_seconds)
    context = RecordContext(
        counter=counter,
        verifier=Verifier(
            settings.jwt_secret.get_secret_value(),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        ),
        metrics=metrics,
        times=settings.times,
        rules=settings.rules,
        allowed_origins=settings.allowed_origins,
        max_connections=settings.max_connections,
    )
    return Parts(ledger, storage, metrics, counter, context, RecordEndpoint(context))


def build_app(parts: Parts) -> Starlette:
    """The ASGI application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(parts.counter.run()), group.create_task(_ticks(parts))]
            yield
            for task in running:
                task.cancel()

    routes: list[BaseRoute] = [
        WebSocketRoute("/v1/record", parts.record),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz(parts)),
        Route("/metrics", _metrics(parts)),
        *page_routes,
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _ticks(parts: Parts) -> None:
    while True:
        await asyncio.sleep(1.0)
        parts.record.tick()


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _metrics(parts: Parts) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4")

    return endpoint


def _readyz(parts: Parts) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        ledger, storage = await asyncio.gather(
            _state(parts.ledger.ping), _state(parts.storage.ping)
        )
        checks = {
            "gateway": "draining" if parts.context.draining else "ok",
            "redis": ledger,
            "postgres": storage,
        }
        ready = all(state == "ok" for state in checks.values())
        body = {"status": "ready" if ready else "not_ready", "checks": checks}
        return JSONResponse(body, 200 if ready else 503)

    return endpoint


async def _state(ping: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            await ping()
    except (LedgerUnavailable, StorageUnavailable, TimeoutError) as error:
        return f"unavailable: {type(error).__name__}"
    return "ok"
