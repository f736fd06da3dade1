"""What the tests of the counting loop share."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from command.embedded import EmbeddedPostgres
from gateway import keeper
from tests.gateway.counting import World
from tests.gateway.limited import Gateways, running_gateways
from tests.ledger.servers import Valkey


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.counter.RETRY_SECONDS", 0.005)
    monkeypatch.setattr("gateway.recovery.RETRY_SECONDS", 0.005)
    monkeypatch.setattr("gateway.recovery.MAX_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("gateway.counter.SESSION_TICK_SECONDS", 0.01)


@pytest.fixture
def slow() -> Iterator[pytest.MonkeyPatch]:
    """No gateway looks at what it keeps, until this is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper.Keeper, "is_due", lambda *_: False)
        yield patch


@pytest.fixture
async def world(quick_retries: None) -> AsyncIterator[World]:
    world = World()
    running = asyncio.create_task(world.counter.run())
    yield world
    assert not running.done()
    running.cancel()


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One that no other tests have sessions in."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def empty_valkey(own_valkey: Valkey) -> Valkey:
    """The same, without the sessions of the tests before."""
    with own_valkey.client() as client:
        client.flushdb()
    return own_valkey


@pytest.fixture
async def gateways(postgres_server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Gateways]:
    """Two counters and a teller at work, on a database and a Valkey of their own."""
    async with running_gateways(postgres_server, tmp_path) as made:
        yield made
