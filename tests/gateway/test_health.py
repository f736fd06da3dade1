"""`/readyz` and `/metrics`, as those see them who run a gateway."""

import asyncio
import time

import httpx
import pytest
from starlette.applications import Starlette

from gateway.health import Health
from gateway.metrics import Metrics
from meter.ledger.types import Backlog, LedgerUnavailable


class Store:
    """Answers, unless it is `down`. `due_since` seconds something waits."""

    def __init__(self, due_since: int | None = None) -> None:
        self.down = False
        self.due_since = due_since

    async def ping(self) -> None:
        if self.down:
            raise LedgerUnavailable("the test took it down")

    async def backlog(self) -> Backlog:
        await self.ping()
        oldest = None if self.due_since is None else int(time.time()) - self.due_since
        return Backlog(3, oldest, 1, 20)


async def readyz(ledger: Store) -> httpx.Response:
    health = Health(
        ledger=ledger,
        storage=Store(),
        metrics=Metrics(),
        keys=None,
        is_draining=lambda: False,
        behind_after_seconds=120,
    )
    transport = httpx.ASGITransport(Starlette(routes=health.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get("/readyz")


@pytest.mark.parametrize(
    ("due_since", "says"), [(None, "ok"), (0, "ok"), (119, "ok"), (125, "behind")]
)
async def test_readyz_says_when_making_durable_is_behind_and_stays_ready(
    due_since: int | None, says: str
) -> None:
    answer = await readyz(Store(due_since))
    assert answer.status_code == 200
    assert answer.json()["checks"]["backlog"] == says
    assert answer.json()["backlog"]["set_aside"] == 1
    assert answer.json()["backlog"]["oldest_due_seconds"] in (due_since or 0, (due_since or 0) + 1)


class Frozen(Store):
    """It doesn't answer, and its driver takes its time to give the connection up."""

    given_up = False

    async def ping(self) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.5)
            self.given_up = True


async def test_readyz_answers_in_time_while_a_store_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.health.CHECK_SECONDS", 0.05)
    ledger = Frozen()
    answer = await readyz(ledger)
    assert not ledger.given_up
    assert answer.status_code == 503
    assert answer.json()["checks"]["redis"] == "unavailable: TimeoutError"
    async with asyncio.timeout(30):
        while not ledger.given_up:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_without_the_ledger_there_is_no_backlog_to_tell() -> None:
    ledger = Store()
    ledger.down = True
    answer = await readyz(ledger)
    assert answer.status_code == 503
    assert answer.json()["backlog"] is None
