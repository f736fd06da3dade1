"""`/healthz`, `/readyz` and `/metrics`: how a gateway is, for those who run it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.jwks import RemoteKeys
from gateway.metrics import Metrics
from meter.ledger.types import Backlog, LedgerUnavailable, StorageUnavailable

CHECK_SECONDS = 2.0

Result = TypeVar("Result")


class Pinged(Protocol):
    """A store that can be asked whether it answers."""

    async def ping(self) -> None: ...


class BackloggedLedger(Pinged, Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def backlog(self) -> Backlog: ...


class Health:
    """What a gateway says of itself and of what it needs."""

    def __init__(
        self,
        *,
        ledger: BackloggedLedger,
        storage: Pinged,
        metrics: Metrics,
        keys: RemoteKeys | None,
        is_draining: Callable[[], bool],
        behind_after_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._metrics = metrics
        self._keys = keys
        self._is_draining = is_draining
        self._behind_after_seconds = behind_after_seconds
        self._now = now
        # What is set aside is due anew with each try: since when some was is known here alone.
        self._aside_since: float | None = None

    def routes(self) -> list[BaseRoute]:
        """Where it is asked."""
        return [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._show_metrics),
        ]

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _readyz(self, _: Request) -> Response:
        redis, postgres, backlog = await asyncio.gather(
            _state(self._ledger.ping), _state(self._storage.ping), self._backlog()
        )
        checks = {
            "gateway": "draining" if self._is_draining() else "ok",
            "redis": redis,
            "postgres": postgres,
        }
        if self._keys is not None:
            checks["jwks"] = "ok" if self._keys.available else "unavailable"
        ready = all(state == "ok" for state in checks.values())
        if backlog is not None:
            # Said, and no reason to send recorders away: theirs is counted, and waits in Redis.
            checks["backlog"] = "behind" if self._is_behind(backlog) else "ok"
        body = {
            "status": "ready" if ready else "not_ready",
            "checks": checks,
            "backlog": backlog,
        }
        return JSONResponse(body, 200 if ready else 503)

    def _is_behind(self, backlog: dict[str, int]) -> bool:
        """Whether something has been due, or set aside at each look, for longer than it may."""
        now = self._now()
        if not backlog["set_aside"]:
            self._aside_since = None
        elif self._aside_since is None:
            self._aside_since = now
        aside_seconds = 0.0 if self._aside_since is None else now - self._aside_since
        return max(backlog["oldest_due_seconds"], aside_seconds) > self._behind_after_seconds

    async def _backlog(self) -> dict[str, int] | None:
        try:
            backlog = await _within(CHECK_SECONDS, self._ledger.backlog())
        except (LedgerUnavailable, TimeoutError):
            return None
        oldest = backlog.oldest_due_at
        return {
            "sessions_due": backlog.sessions_due,
            "oldest_due_seconds": 0 if oldest is None else max(int(time.time()) - oldest, 0),
            "set_aside": backlog.set_aside,
            "live_sessions": backlog.live_sessions,
        }


async def _state(check: Callable[[], Coroutine[None, None, None]]) -> str:
    try:
        await _within(CHECK_SECONDS, check())
    except (LedgerUnavailable, StorageUnavailable, TimeoutError) as error:
        return f"unavailable: {type(error).__name__}"
    return "ok"


async def _within(seconds: float, work: Coroutine[None, None, Result]) -> Result:
    """What comes of it in time; else `TimeoutError`, and it ends by itself: a driver that is
    cancelled may take seconds more to give a frozen server's connection up."""
    task = asyncio.get_running_loop().create_task(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        return task.result()
    _given_up.add(task)
    task.add_done_callback(_let_go)
    task.cancel()
    raise TimeoutError


def _let_go(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()


_given_up: set[asyncio.Task[Any]] = set()
