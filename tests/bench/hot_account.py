"""Heartbeats counted a second: all of one hot account, against as many accounts as sessions.

The ledger's `count` in full batches, a new second of every session (`--sessions`) a call, as a
gateway with that many heartbeats waiting sends it. That says more than a gateway under load would:
a gateway is busy with sockets long before the ledger is, and what a hot account might cost (one
partition, one set of figures, one limit to hold for all) is in this call. The driver's packing and
parsing are in it, so is the append-only file; of both kinds the calls come in turns. Every account
and member has a limit, far away.

The sessions are ones that began hours ago, so that there are seconds to count as fast as it goes.
A second counted twice, or refused, makes the round invalid.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from redis import Redis

from meter.ledger.driver import Ledger
from meter.ledger.types import (
    AccountFigures,
    CountItem,
    SessionKey,
    SessionState,
    StoredSession,
)
from meter.periods import around
from tests.bench.redis_cost import redis_cpu_seconds
from tests.bench.stores import Stores

BATCHES = 30
BEGAN_SECONDS_AGO = 6 * 3600
FAR_LIMIT_SECONDS = 10**9


@dataclass(frozen=True)
class CountRates:
    """One round: heartbeats a second, and Redis's CPU of one in µs."""

    batch: int
    hot_per_second: float
    many_per_second: float
    hot_redis_us: float
    many_redis_us: float
    problems: list[str] = field(default_factory=list)

    @property
    def hot_over_many(self) -> float:
        """Return the rate of the hot account over that of the many."""
        return self.hot_per_second / self.many_per_second


class Crowd:
    """Sessions that were put into the ledger, and what it took to count their seconds."""

    def __init__(self, keys: Sequence[SessionKey]) -> None:
        self._keys = keys
        self._next_second = 0
        self.seconds = 0.0
        self.redis_seconds = 0.0
        self.counted = 0

    async def count(self, ledger: Ledger, redis: Redis) -> None:
        """Count one more second of each session."""
        second, self._next_second = self._next_second, self._next_second + 1
        items = [CountItem(key, ((second, second),)) for key in self._keys]
        cpu_before, before = redis_cpu_seconds(redis), time.perf_counter()
        replies = await ledger.count(items)
        self.seconds += time.perf_counter() - before
        self.redis_seconds += redis_cpu_seconds(redis) - cpu_before
        self.counted += sum(reply.new for reply in replies)

    def due(self) -> int:
        """Return how many seconds must have been counted."""
        return len(self._keys) * self._next_second


def measure_counts(stores: Stores, sessions: int, batches: int = BATCHES) -> CountRates:
    """Measure one round."""
    with stores.redis() as redis:
        redis.flushall()
        return asyncio.run(_measure(stores.redis_url(), redis, sessions, batches))


async def _measure(redis_url: str, redis: Redis, sessions: int, batches: int) -> CountRates:
    ledger = Ledger.connect(redis_url)
    try:
        await ledger.prepare()
        hot = await _crowd(ledger, ["hot"] * sessions)
        many = await _crowd(ledger, [f"one-of-many-{number}" for number in range(sessions)])
        for _ in range(batches):
            await hot.count(ledger, redis)
            await many.count(ledger, redis)
    finally:
        await ledger.aclose()
    return CountRates(
        batch=sessions,
        hot_per_second=hot.due() / hot.seconds,
        many_per_second=many.due() / many.seconds,
        hot_redis_us=hot.redis_seconds * 1e6 / hot.due(),
        many_redis_us=many.redis_seconds * 1e6 / many.due(),
        problems=[
            f"{crowd.counted} seconds counted of {crowd.due()}, {name}"
            for name, crowd in (("one hot account", hot), ("many accounts", many))
            if crowd.counted != crowd.due()
        ],
    )


async def _crowd(ledger: Ledger, organizations: Sequence[str]) -> Crowd:
    """Put a session a place into the ledger, each of a user of its own."""
    gate = asyncio.Semaphore(20)
    now = int(time.time())
    keys = [SessionKey(organization, str(uuid4())) for organization in organizations]

    async def put(key: SessionKey, user_id: str) -> None:
        async with gate:
            await ledger.seed_account(_figures(key.organization_id, user_id, now))
            state = SessionState(key, user_id, "recording", now - BEGAN_SECONDS_AGO, revision=1)
            await ledger.restore_session(StoredSession(state, ()))

    await asyncio.gather(*(put(key, f"user-{number}") for number, key in enumerate(keys)))
    return Crowd(keys)


def _figures(organization_id: str, user_id: str, now: int) -> AccountFigures:
    periods = around(now)
    return AccountFigures(
        organization_id,
        user_id,
        periods,
        organization_used=(0,) * len(periods),
        member_used=(0,) * len(periods),
        organization_limit=FAR_LIMIT_SECONDS,
        member_limit=FAR_LIMIT_SECONDS,
    )
