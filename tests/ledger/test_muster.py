"""Which flushers are at work: those that said so, until their time runs out or they leave."""

import pytest

from tests.ledger.clock import CLOCK_KEY
from tests.ledger.world import Backend

LEASE_SECONDS = 10.0


@pytest.fixture(
    params=["fake_backend", pytest.param("valkey_backend", marks=pytest.mark.integration)]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.getfixturevalue(request.param)
    backend.redis.flushall()
    return backend


def muster(backend: Backend, flusher: str, now: int, lease: float = LEASE_SECONDS) -> list[str]:
    backend.redis.hset(CLOCK_KEY, mapping={"s": now, "u": 0})
    return backend.run(backend.ledger.muster(flusher, lease))


def test_every_flusher_learns_of_the_others_in_the_same_order(backend: Backend) -> None:
    assert muster(backend, "two", 1000) == ["two"]
    assert muster(backend, "one", 1001) == ["one", "two"]
    assert muster(backend, "two", 1002) == ["one", "two"]


def test_a_flusher_that_died_is_counted_until_its_time_runs_out(backend: Backend) -> None:
    muster(backend, "dead", 1000)
    assert muster(backend, "alive", 1009) == ["alive", "dead"]
    assert muster(backend, "alive", 1010) == ["alive"]


def test_a_flusher_that_leaves_is_gone_at_once(backend: Backend) -> None:
    muster(backend, "leaves", 1000)
    muster(backend, "stays", 1000)
    assert muster(backend, "leaves", 1001, 0) == ["stays"]


def test_a_flusher_that_died_while_the_clock_was_ahead_is_gone_once_it_is_set_back(
    backend: Backend,
) -> None:
    muster(backend, "dead", 4600)
    muster(backend, "alive", 4600)
    assert muster(backend, "alive", 1000) == ["alive"]
    assert muster(backend, "alive", 1001) == ["alive"]
