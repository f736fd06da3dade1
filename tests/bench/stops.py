"""From an account's last counted second to `stop` at all of its recorders.

Some accounts, each with a limit in Postgres and with so many live sessions, on one gateway (or
spread over several), all of them real processes with Valkey, Postgres and the flusher. The
sessions run the accounts into their limits (`stop_load.py`); one in five is paused and sends
nothing.

Measured is, at the recorder, from the moment in which the account's last second that counts was
*sent* to the moment in which the session's `stop` came. So the gathering of a batch and the count
itself are in it, and the network twice. Recorders that beat once a second learn of it with the
answer to their next heartbeat, half a second later on average: the figures hold that second, not
just work. Of accounts with one session there are `SMALL_ACCOUNTS`, as one alone gives one figure.

A round is sound when each session was told, none was cut off, and the sessions' own totals add up
to exactly the limit.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from persistence.limits import set_limit
from tests.bench.generator import LoadError, run_generator
from tests.bench.servers import RunningServer, our_gateways
from tests.bench.stop_load import StopOptions, StopTotals, beating_sessions
from tests.bench.stores import Stores

# An account's limit is reached after so many heartbeats of each of its sessions.
HEARTBEATS_TO_LIMIT = 2.5
SMALL_ACCOUNTS = 20
SMALL_SESSIONS = 200
LATE_LIMIT_MS = 250.0
LOAD_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class StopFigures:
    """A round at one number of sessions an account. `paused_*` are None without paused ones."""

    sessions_an_account: int
    accounts: int
    gateways: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    paused_p50_ms: float | None
    paused_max_ms: float | None
    load_late_max_ms: float
    connect_seconds: float
    problems: list[str] = field(default_factory=list)


def measure_stops(
    stores: Stores, sessions_an_account: Sequence[int], gateways: int
) -> list[StopFigures]:
    """Measure one round: each number of sessions in turn, on the same gateways."""
    with stores.redis() as redis:
        redis.flushall()
    with our_gateways(stores, gateways) as running:
        return [_measure(stores, running, number) for number in sessions_an_account]


def _measure(
    stores: Stores, gateways: Sequence[RunningServer], sessions_an_account: int
) -> StopFigures:
    accounts = max(1, min(SMALL_ACCOUNTS, SMALL_SESSIONS // sessions_an_account))
    limit = max(1, int(beating_sessions(sessions_an_account) * HEARTBEATS_TO_LIMIT))
    organizations = tuple(f"stop-{uuid4()}" for _ in range(accounts))
    asyncio.run(_set_limits(stores.database_url(), organizations, limit))
    target = gateways[0].target
    options = StopOptions(
        urls=tuple(gateway.target.url for gateway in gateways),
        organizations=organizations,
        sessions_an_account=sessions_an_account,
        limit=limit,
        secret=target.secret,
        origin=target.origin,
    )
    totals = StopTotals(**run_generator("tests.bench.stop_load", options, LOAD_TIMEOUT_SECONDS))
    told = sorted(totals.stop_ms + totals.paused_stop_ms)
    if not told:
        raise LoadError(f"of {sessions_an_account} sessions an account none was told `stop`")
    paused = sorted(totals.paused_stop_ms)
    return StopFigures(
        sessions_an_account=sessions_an_account,
        accounts=accounts,
        gateways=len(gateways),
        p50_ms=percentile(told, 50),
        p99_ms=percentile(told, 99),
        max_ms=told[-1],
        paused_p50_ms=percentile(paused, 50) if paused else None,
        paused_max_ms=paused[-1] if paused else None,
        load_late_max_ms=totals.late_max_ms,
        connect_seconds=totals.connect_seconds,
        problems=list(_problems(totals, limit)),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the least of ascending values that so many percent of them do not exceed."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


async def _set_limits(database_url: str, organizations: Sequence[str], seconds: int) -> None:
    for organization in organizations:
        await set_limit(database_url, organization, None, seconds)


def _problems(totals: StopTotals, limit: int) -> Iterator[str]:
    """Say what is not as it has to be: a stop that is quick and wrong is no result."""
    if totals.untold:
        yield f"{totals.untold} sessions were not told `stop`"
    if totals.disconnected_early:
        yield f"{totals.disconnected_early} sessions were disconnected"
    if totals.errors:
        yield f"the gateway said {totals.errors}"
    for counted in totals.counted_seconds:
        if counted != limit:
            yield f"{counted} seconds counted of an account with a limit of {limit}"
    if totals.late_max_ms > LATE_LIMIT_MS:
        yield f"the load generator sent up to {totals.late_max_ms:.0f} ms late"
