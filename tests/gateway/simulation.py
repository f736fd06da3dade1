"""Random histories of gateways, recorders, flushers and their servers, in which everything fails,
on a clock that nobody waits for: afterwards each second that was recorded is in a row, once.

Gateways, the clients' state machine and flushers are the real ones; the ledger is the reference
model of the function library. Each history has other kinds of faults, some at chosen points of a
call. A second isn't owed once nobody is to hold it any more (`House.excuse`), nor what an
operator's stop found missing (`House.stopped`).

`python -m tests.gateway.simulation --seeds 5000` looks for a history that ends wrongly; with
`--seed 17` it tells that one. With `--forgetful` the ledger's data goes while the server stays the
same (`FLUSHALL`), which gateways can't always tell; that isn't promised.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from gateway import counter as counter_module
from gateway import openings as openings_module
from tests.gateway import counting
from tests.gateway.simulated_faults import Nemesis
from tests.gateway.simulated_house import House
from tests.gateway.virtual_time import VirtualClock, VirtualLoop, run_on

EPOCH = 1_800_000_000.0  # in the middle of a month


class _Errors(logging.Handler):
    """What is logged as an error is one."""

    def __init__(self, house: House) -> None:
        super().__init__(logging.WARNING)
        self._house = house

    def emit(self, record: logging.LogRecord) -> None:
        """A record of a gateway's."""
        text = f"{record.name}: {self.format(record)}"
        if record.levelno >= logging.ERROR:
            self._house.fail(text)
        else:
            self._house.say(text)


@contextmanager
def _watched(house: House) -> Iterator[None]:
    errors, loggers = _Errors(house), [logging.getLogger(name) for name in ("gateway", "asyncio")]
    with ExitStack() as stack:
        for logger in loggers:
            stack.enter_context(mock.patch.object(logger, "handlers", [errors]))
            stack.enter_context(mock.patch.object(logger, "propagate", False))
        for module in (counter_module, openings_module, counting):
            stack.enter_context(mock.patch.object(module, "time", house.clock))
        yield


def simulate(seed: int, *, detailed: bool = False, forgetful: bool = False) -> House:
    """The history of a seed; what is wrong with it is in `wrong`. With `detailed`, each call and
    frame is told; with `forgetful`, the ledger is emptied without being started anew."""
    loop = VirtualLoop()
    house = House(seed, VirtualClock(loop, EPOCH), detailed)
    with _watched(house):
        run_on(loop, house.live(Nemesis(house, forgetful=forgetful).rage))
    return house


def main() -> None:
    """Look for histories that end wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--forgetful", action="store_true")
    asked = parser.parse_args()
    logging.getLogger("minute_meter").setLevel(logging.CRITICAL)
    if asked.seed is not None:
        print("\n".join(simulate(asked.seed, detailed=True, forgetful=asked.forgetful).trace))
        return
    found = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        wrong = simulate(seed, forgetful=asked.forgetful).wrong
        found += bool(wrong)
        for text in wrong:
            print(f"seed {seed}: {text}", flush=True)
    print(f"{asked.seeds} histories, {found} wrong")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
