"""Ledgers for tests: on fakeredis, and on a Valkey of their own."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
import redis
import redis.asyncio

from command.embedded import EmbeddedValkey
from meter.ledger.driver import Ledger
from tests.ledger.clock import library_on_test_clock
from tests.ledger.machine import RULES
from tests.ledger.world import Backend


@pytest.fixture(scope="session")
def model_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A Valkey for tests that replace the function library or its clock."""
    server = EmbeddedValkey(Path(tmp_path_factory.mktemp("model")), durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_backend(model_valkey: EmbeddedValkey) -> Iterator[Backend]:
    """The library on the tests' clock on a real Valkey."""
    yield from _backend(
        redis.asyncio.Redis.from_url(model_valkey.url), redis.Redis.from_url(model_valkey.url)
    )


@pytest.fixture
def fake_backend() -> Iterator[Backend]:
    """The library on the tests' clock on fakeredis."""
    server = fakeredis.FakeServer()
    yield from _backend(fakeredis.FakeAsyncRedis(server=server), fakeredis.FakeRedis(server=server))


def _backend(client: redis.asyncio.Redis, plain: redis.Redis) -> Iterator[Backend]:
    loop = asyncio.new_event_loop()
    ledger = Ledger(client, RULES, library=library_on_test_clock())
    yield Backend(ledger, plain, loop)
    loop.run_until_complete(ledger.aclose())
    plain.close()
    loop.close()
