"""One round of one server: start it, load it, and read the clocks over the steady state."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from redis import Redis

from tests.bench.generator import Load, LoadTarget
from tests.bench.load import Snapshot, Totals
from tests.bench.process import MeasuredProcess
from tests.bench.redis_cost import redis_cpu_seconds, redis_used_bytes
from tests.bench.servers import ServerUnderTest
from tests.bench.stores import Stores

LEAST_SHARE_SENT = 0.98
LEAST_SHARE_ANSWERED = 0.95
LOAD_CPU_LIMIT_PERCENT = 80.0


@dataclass(frozen=True)
class LoadPlan:
    """How many sessions, for how long. `seconds` is the measured window."""

    sessions: int
    seconds: float
    warm_up_seconds: float
    load_processes: int


@dataclass(frozen=True)
class ServerFigures:
    """What one round of one server gave. Redis's figures are None when it has none."""

    us_per_heartbeat: float
    server_cpu_percent: float
    heartbeats: int
    replies_per_heartbeat: float
    load_cpu_percent: float
    load_late_max_ms: float
    bytes_per_session: float
    resident_bytes: int
    redis_us_per_heartbeat: float | None
    redis_bytes_per_session: float | None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """All clocks and gauges at one moment."""

    monotonic_seconds: float
    load: Snapshot
    server_cpu_seconds: float
    redis_cpu_seconds: float


@dataclass(frozen=True)
class Memory:
    """What the sessions may have made grow."""

    resident_bytes: int
    redis_bytes: int


def measure_server(server: ServerUnderTest, stores: Stores, plan: LoadPlan) -> ServerFigures:
    """Run one round of `server` under `plan`."""
    with ExitStack() as stack:
        redis = _emptied_redis(stack, stores) if server.uses_redis else None
        running = stack.enter_context(server.start(stores))
        empty = _memory(running.process, redis)
        load = stack.enter_context(Load(running.target, plan.sessions, plan.load_processes))
        load.wait_connected()
        time.sleep(plan.warm_up_seconds)
        first = _reading(load, running.process, redis)
        time.sleep(plan.seconds)
        last = _reading(load, running.process, redis)
        full = _memory(running.process, redis)
        totals = load.stop()
        problems = [
            *_load_problems(plan, first, last),
            *_backlog_problems(running.target, first, last),
            *_reply_problems(plan, totals, running.target.recorder),
        ]
        return _figures(plan, (first, last), (empty, full), redis is not None, problems)


def _emptied_redis(stack: ExitStack, stores: Stores) -> Redis:
    redis = stores.redis()
    stack.callback(redis.close)
    redis.flushall()
    return redis


def _reading(load: Load, process: MeasuredProcess, redis: Redis | None) -> Reading:
    return Reading(
        monotonic_seconds=time.monotonic(),
        load=load.snapshot(),
        server_cpu_seconds=process.cpu_seconds(),
        redis_cpu_seconds=0.0 if redis is None else redis_cpu_seconds(redis),
    )


def _memory(process: MeasuredProcess, redis: Redis | None) -> Memory:
    return Memory(
        resident_bytes=process.resident_bytes(),
        redis_bytes=0 if redis is None else redis_used_bytes(redis),
    )


def _figures(
    plan: LoadPlan,
    window: tuple[Reading, Reading],
    growth: tuple[Memory, Memory],
    has_redis: bool,
    problems: list[str],
) -> ServerFigures:
    first, last = window
    empty, full = growth
    seconds = last.monotonic_seconds - first.monotonic_seconds
    heartbeats = max(1, last.load.sent - first.load.sent)
    server_cpu_seconds = last.server_cpu_seconds - first.server_cpu_seconds
    redis_us = (last.redis_cpu_seconds - first.redis_cpu_seconds) * 1e6 / heartbeats
    redis_bytes = (full.redis_bytes - empty.redis_bytes) / plan.sessions
    return ServerFigures(
        us_per_heartbeat=server_cpu_seconds * 1e6 / heartbeats,
        server_cpu_percent=server_cpu_seconds * 100 / seconds,
        heartbeats=heartbeats,
        replies_per_heartbeat=(last.load.received - first.load.received) / heartbeats,
        load_cpu_percent=_load_cpu_percent(first, last),
        load_late_max_ms=last.load.late_max_ms,
        bytes_per_session=(full.resident_bytes - empty.resident_bytes) / plan.sessions,
        resident_bytes=full.resident_bytes,
        redis_us_per_heartbeat=redis_us if has_redis else None,
        redis_bytes_per_session=redis_bytes if has_redis else None,
        problems=problems,
    )


def _load_cpu_percent(first: Reading, last: Reading) -> float:
    cpu_seconds = last.load.cpu_seconds - first.load.cpu_seconds
    return cpu_seconds * 100 / (last.monotonic_seconds - first.monotonic_seconds)


def _load_problems(plan: LoadPlan, first: Reading, last: Reading) -> Iterator[str]:
    """Say whether the generator was the bottleneck."""
    due = plan.sessions * (last.monotonic_seconds - first.monotonic_seconds)
    sent = last.load.sent - first.load.sent
    if sent < due * LEAST_SHARE_SENT:
        yield f"the load generator sent {sent} of {due:.0f} heartbeats due"
    load_cpu_percent = _load_cpu_percent(first, last) / plan.load_processes
    if load_cpu_percent > LOAD_CPU_LIMIT_PERCENT:
        yield f"the load generator used {load_cpu_percent:.0f} % of a core"


def _backlog_problems(target: LoadTarget, first: Reading, last: Reading) -> Iterator[str]:
    """Say whether an echo left frames waiting in the window: then its CPU is not all counted."""
    due = (last.load.sent - first.load.sent) / target.heartbeats_per_reply
    received = last.load.received - first.load.received
    if not target.recorder and received < due * LEAST_SHARE_ANSWERED:
        yield f"{received} replies in the window, of {due:.0f} due: it fell behind"


def _reply_problems(plan: LoadPlan, totals: Totals, recorder: bool) -> Iterator[str]:
    """Say what was lost: a cheap heartbeat that is not answered, or not counted, is no result."""
    if totals.disconnected_early:
        yield f"{totals.disconnected_early} sessions were disconnected"
    if totals.errors:
        yield f"the server said {totals.errors}"
    if not recorder and totals.received != totals.replies_due:
        yield f"{totals.received} replies, of {totals.replies_due} due"
    if recorder and totals.counted_seconds != totals.sent:
        yield f"{totals.counted_seconds} seconds counted of {totals.sent} sent"
    if recorder and totals.stopped_sessions != plan.sessions:
        yield f"{totals.stopped_sessions} of {plan.sessions} sessions were told `stopped`"
