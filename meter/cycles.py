"""The billing cycles of an account over time. Pure.

Periods that ended never change, and neither does the present one: another cycle, set at some
moment, comes into force at the end of the period that holds the moment. Periods adjoin there too.
"""

from collections.abc import Iterable
from itertools import pairwise

from msgspec import Struct

from meter.periods import BillingCycle, Period, period_of

# A cycle that was set at this second or before holds from the beginning.
BEGINNING = 0
# What lies between the end of the old cycle's last period and the new one's first turn is a period
# of its own, unless it's shorter than this: then it is part of the one that comes after it. So a
# mere change of zone, which moves turns by 26 hours at most, makes a month some hours longer or
# shorter, and no period is shorter than seconds may be late.
SHORTEST_SECONDS = 2 * 86_400


class CycleChange(Struct, frozen=True, gc=False):
    """A cycle, and the epoch second in which it was set."""

    set_at: int
    cycle: BillingCycle


class CycleInForce(Struct, frozen=True, gc=False):
    """A cycle, and the epoch second from which on it holds; the first one's is None: always."""

    since: int | None
    cycle: BillingCycle


class Cycles(Struct, frozen=True):
    """The cycles of an account in the order in which they came into force; see `cycles_of`."""

    in_force: tuple[CycleInForce, ...] = (CycleInForce(None, BillingCycle()),)

    def at(self, second: int) -> BillingCycle:
        """The cycle in force at an epoch second."""
        return self._in_force_at(second).cycle

    def period_of(self, second: int) -> Period:
        """The account's period that holds an epoch second."""
        return _period_under(self._in_force_at(second), second)

    def around(self, second: int) -> tuple[Period, Period, Period]:
        """The account's periods before, of and after an epoch second: those a ledger needs at
        that time, as late seconds belong to the one before, and a live session goes over into the
        one after."""
        present = self.period_of(second)
        return self.period_of(present.start - 1), present, self.period_of(present.end)

    def _in_force_at(self, second: int) -> CycleInForce:
        found = self.in_force[0]
        for later in self.in_force[1:]:
            if later.since is not None and second < later.since:
                break
            found = later
        return found


def cycles_of(changes: Iterable[CycleChange]) -> Cycles:
    """The cycles that came or will come into force out of all that were set, in that order.

    Until the first of them the default holds: calendar months in UTC. One that was replaced
    before its turn came never does.
    """
    present = CycleInForce(None, BillingCycle())
    past: list[CycleInForce] = []
    waiting: CycleInForce | None = None
    for change in changes:
        if change.set_at <= BEGINNING:
            present = CycleInForce(None, change.cycle)
            continue
        if waiting is not None and waiting.since is not None and change.set_at >= waiting.since:
            past.append(present)
            present = waiting
        end = _period_under(present, change.set_at).end
        waiting = CycleInForce(end, change.cycle)
    met = [*past, present, waiting] if waiting is not None else [*past, present]
    # Set back to what it was before its turn came: nothing changed.
    changed = [later for earlier, later in pairwise(met) if later.cycle != earlier.cycle]
    return Cycles((met[0], *changed))


def _period_under(force: CycleInForce, second: int) -> Period:
    """The period of a cycle in force that holds an epoch second, not looking at what follows."""
    if force.since is not None:
        first = _first_period(force.since, force.cycle)
        if second < first.end:
            return first
    return period_of(force.cycle, second)


def _first_period(since: int, cycle: BillingCycle) -> Period:
    end = period_of(cycle, since).end
    if end - since < SHORTEST_SECONDS:
        end = period_of(cycle, end).end
    return Period(since, end)
