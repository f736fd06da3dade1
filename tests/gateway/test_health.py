"""`/readyz` and `/metrics`, as those see them who run a gateway."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette

from gateway.health import Health
from gateway.metrics import Metrics
from meter.ledger.types import Backlog, LedgerUnavailable


class Store:
    """Answers, unless it is `down`. `due_since` seconds something waits."""

    def __init__(self, due_since: int | None = None, set_aside: int = 1) -> None:
        self.down = False
        self.due_since = due_since
        self.set_aside = set_aside

    async def ping(self) -> None:
        if self.down:
            raise LedgerUnavailable("the test took it down")

    async def backlog(self) -> Backlog:
        await self.ping()
        oldest = None if self.due_since is None else int(time.time()) - self.due_since
        return Backlog(3, oldest, self.set_aside, 20)


def health_of(ledger: Store, now: Callable[[], float] = time.monotonic) -> Health:
    return Health(
        ledger=ledger,
        storage=Store(),
        metrics=Metrics(),
        keys=None,
        is_draining=lambda: False,
        behind_after_seconds=120,
        now=now,
    )


async def readyz(ledger: Store, health: Health | None = None) -> httpx.Response:
    health = health or health_of(ledger)
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


async def test_what_is_set_aside_for_long_is_behind_though_each_try_makes_it_due_anew() -> None:
    ledger, now = Store(), 0.0
    health = health_of(ledger, lambda: now)

    async def says(at: float) -> str:
        nonlocal now
        now = at
        answer = await readyz(ledger, health)
        assert answer.status_code == 200
        return str(answer.json()["checks"]["backlog"])

    assert [await says(0), await says(119), await says(121)] == ["ok", "ok", "behind"]
    ledger.set_aside = 0
    assert await says(122) == "ok"
    ledger.set_aside = 2
    assert await says(200) == "ok"


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
