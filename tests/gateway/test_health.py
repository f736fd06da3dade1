"""`/readyz` and `/metrics`, as those see them who run a gateway."""

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


async def test_without_the_ledger_there_is_no_backlog_to_tell() -> None:
    ledger = Store()
    ledger.down = True
    answer = await readyz(ledger)
    assert answer.status_code == 503
    assert answer.json()["backlog"] is None
