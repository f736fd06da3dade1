"""What Redis spends: its own CPU and memory figures, and the price of a pipelined `INCR`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from tests.bench.tokens import ORGANIZATIONS, organization_name

BATCH_SECONDS = 0.05


@dataclass(frozen=True)
class IncrementCost:
    """Redis's CPU for one pipelined `INCR`, and for a second in which nobody asks anything."""

    us_per_increment: float
    idle_us_per_second: float
    increments: int


def redis_cpu_seconds(redis: Redis) -> float:
    """Return the CPU time, user and system, that the server process has used."""
    cpu: dict[str, Any] = redis.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def redis_used_bytes(redis: Redis) -> int:
    """Return the memory that the server's allocator holds for data, clients and buffers."""
    memory: dict[str, Any] = redis.info("memory")
    return int(memory["used_memory"])


def pipelined_increment_cost(redis: Redis, per_second: int, seconds: float) -> IncrementCost:
    """Send `per_second` `INCR`s a second, a pipeline each 50 ms; first watch the idle server."""
    idle_seconds = min(seconds, 5.0)
    idle_cpu_seconds = _cpu_used(redis, lambda: time.sleep(idle_seconds))
    batches = int(seconds / BATCH_SECONDS)
    batch_size = int(per_second * BATCH_SECONDS)
    cpu_seconds = _cpu_used(redis, lambda: _send_increments(redis, batches, batch_size))
    increments = batches * batch_size
    return IncrementCost(
        us_per_increment=cpu_seconds * 1e6 / increments,
        idle_us_per_second=idle_cpu_seconds * 1e6 / idle_seconds,
        increments=increments,
    )


def _cpu_used(redis: Redis, work: Callable[[], None]) -> float:
    before = redis_cpu_seconds(redis)
    work()
    return redis_cpu_seconds(redis) - before


def _send_increments(redis: Redis, batches: int, batch_size: int) -> None:
    keys = [f"bench:{organization_name(number)}" for number in range(ORGANIZATIONS)]
    started = time.monotonic()
    for batch in range(batches):
        time.sleep(max(0.0, started + batch * BATCH_SECONDS - time.monotonic()))
        pipeline = redis.pipeline(transaction=False)
        for number in range(batch_size):
            pipeline.incr(keys[number % ORGANIZATIONS])
        pipeline.execute()
