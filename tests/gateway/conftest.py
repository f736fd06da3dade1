"""What the tests of the counting loop share."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.gateway.counting import World


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.counter.RETRY_SECONDS", 0.005)
    monkeypatch.setattr("gateway.counter.MAX_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("gateway.counter.SESSION_TICK_SECONDS", 0.01)


@pytest.fixture
async def world(quick_retries: None) -> AsyncIterator[World]:
    world = World()
    running = asyncio.create_task(world.counter.run())
    yield world
    assert not running.done()
    running.cancel()
