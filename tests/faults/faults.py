"""The faults, each by its name: how it is done, for how long it lasts, and what it needs alone."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults import clients, clocks, processes, stores
from tests.faults.stage import Stage

# It may say what kept it from being what its name says.
Act = Callable[[Stage, random.Random, float], Awaitable[str | None]]


@dataclass(frozen=True)
class Fault:
    """`act(stage, random, seconds)` breaks something, waits so long, and mends it.

    Of two faults with a need in common only one is done at a time. `seconds` are the shortest and
    the longest that it lasts; it is for runs of so many `minutes`, and longer ones. One that is
    done `beside` the others begins before them, and keeps none of them from being alone; it and
    those that are `first` are done once.
    """

    name: str
    act: Act
    needs: frozenset[str]
    seconds: tuple[float, float]
    minutes: float = 0
    first: bool = False
    beside: bool = False

    @property
    def silences(self) -> bool:
        """Whether no session that is silent ends meanwhile."""
        return self.act in _SILENCE


def _fault(
    name: str,
    act: Act,
    needs: str,
    least: float,
    most: float,
    *,
    minutes: float = 0,
    first: bool = False,
    beside: bool = False,
) -> Fault:
    return Fault(name, act, frozenset(needs.split()), (least, most), minutes, first, beside)


# Where Valkey loses what it had, nothing else may have lost it, or keep Postgres from having it: a
# second is safe as long as one of its neighbouring holders is.
ALL_HOLDERS = "valkey postgres gateways flushers"

# Nothing ends a session that is silent: Valkey doesn't work, or all flushers don't, or the clock by
# which it is silent is set.
_SILENCE = frozenset(
    {
        stores.kill_valkey,
        stores.stall_valkey,
        stores.fill_valkey,
        stores.flush_functions,
        processes.kill_all,
        clocks.ahead,
        clocks.behind,
        clocks.steps,
    }
)

FAULTS = (
    # 1. Processes
    _fault("gateway killed", processes.kill_gateway, "gateways", 0.5, 4),
    _fault("gateway killed unanswered", processes.kill_unanswered, "gateways", 0.5, 2),
    _fault("flusher killed", processes.kill_flusher, "flushers", 0.5, 6),
    _fault("flusher killed unsettled", processes.kill_unsettled, "flushers", 0.5, 2),
    _fault("flusher killed in a transaction", processes.kill_writing, "flushers", 0.5, 2),
    _fault("all gateways killed", processes.kill_gateways, "gateways", 0.5, 3),
    _fault("all processes killed", processes.kill_all, "gateways flushers", 0.5, 3),
    # 2. Valkey
    _fault("valkey killed", stores.kill_valkey, "valkey", 0.2, 4),
    _fault("valkey emptied", stores.empty_valkey, ALL_HOLDERS, 0.2, 4),
    _fault("valkey stalled", stores.stall_valkey, "valkey", 7, 7),
    _fault("valkey stalled long", stores.stall_valkey, "valkey", 30, 30, minutes=5),
    _fault("valkey out of memory", stores.fill_valkey, "valkey", 2, 8),
    _fault("valkey functions flushed", stores.flush_functions, "valkey", 0.1, 1),
    _fault("valkey failed over", stores.fail_over_valkey, ALL_HOLDERS, 0.5, 3),
    _fault(
        "valkey emptied while postgres is away", stores.empty_without_postgres, ALL_HOLDERS, 2, 4
    ),
    # 3. Both neighbours of a client
    _fault("valkey emptied, gateway killed", stores.empty_and_kill, ALL_HOLDERS, 0.5, 3),
    # 4. Postgres
    _fault("postgres stopped", stores.stop_postgres, "postgres", 1, 6),
    _fault(
        "postgres stopped long", stores.stop_postgres, "postgres", 180, 180, minutes=9, first=True
    ),
    _fault("postgres killed", stores.kill_postgres, "postgres", 0.5, 3),
    _fault("postgres without connections", stores.exhaust_postgres, "postgres", 2, 8),
    _fault("postgres commits, and is not heard", stores.deafen, "postgres flushers", 2, 4),
    _fault("flusher writes late", stores.hold_back, "postgres flushers", 3.2, 4.8),
    _fault("flusher writes what it took before", stores.write_stale, ALL_HOLDERS, 2, 5),
    _fault("postgres refuses transactions", stores.refuse_transactions, "postgres", 2, 8),
    _fault("postgres locked", stores.lock_postgres, "postgres", 2, 6),
    # 5. Network
    _fault("clients cut", clients.cut, "front", 2, 6),
    _fault("reconnect storm", clients.storm, "front", 0.5, 2),
    _fault("clients delayed", clients.delay, "front", 3, 8),
    _fault("clients offline", clients.offline, "offline", 5, 15),
    _fault("clients offline long", clients.offline_long, "", 300, 300, minutes=9, beside=True),
    _fault("clients half open", clients.half_open, "front", 1, 3, minutes=5),
    _fault("gateway cut off from valkey", clients.cut_redis, "valkey", 2, 6),
    _fault("gateway cut off from postgres", clients.cut_postgres, "postgres", 2, 6),
    _fault("flusher's answers lost", clients.lose_settling, "flushers valkey", 2, 5),
    # 6. Clocks
    _fault("server's clock an hour ahead", clocks.ahead, "valkey clock", 3, 8, minutes=5),
    _fault("server's clock an hour behind", clocks.behind, "valkey clock", 3, 8, minutes=5),
    _fault("server's clock steps 3 s", clocks.steps, "valkey clock", 2, 6),
    _fault("gateways' clocks 3 s apart", clocks.apart, "gateways clock", 2, 5),
    _fault("clients' clocks an hour ahead", clocks.clients_ahead, "clients", 2, 6),
    _fault("clients' clocks an hour behind", clocks.clients_behind, "clients", 2, 6),
    # 7. Deploys
    _fault("two releases at once", processes.renew, "gateways flushers clock", 2, 6),
    _fault("rolling restart", processes.roll, "gateways", 0, 1),
    # 8. Bad input
    _fault("rubbish sent", clients.send_rubbish, "rubbish", 1, 3),
)
