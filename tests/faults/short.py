"""The short run: some kinds of fault, each brief, in overlap. Part of `make test`."""

import dataclasses

from tests.faults.faults import FAULTS
from tests.faults.run import Options

SEED = 8
SECONDS = 26.0
LONGEST_SECONDS = 2.0
KINDS = frozenset(
    {
        "gateway killed",
        "flusher killed unsettled",
        "flusher writes what it took before",
        "valkey killed",
        "valkey emptied",
        "valkey functions flushed",
        "valkey emptied, gateway killed",
        "postgres killed",
        "postgres refuses transactions",
        "clients cut",
        "server's clock steps 3 s",
        "rolling restart",
    }
)


def short(seed: int = SEED, seconds: float = SECONDS) -> Options:
    """A run that has each of these faults once, of at most two seconds, and some in overlap."""
    faults = [fault for fault in FAULTS if fault.name in KINDS]
    brief = [
        dataclasses.replace(
            fault, seconds=(fault.seconds[0] / 2, min(fault.seconds[1], LONGEST_SECONDS))
        )
        for fault in faults
    ]
    return Options(
        seconds=seconds,
        seed=seed,
        recorders=60,
        accounts=12,
        session_seconds=(2.0, 15.0),
        faults=brief,
        alone=False,
    )
