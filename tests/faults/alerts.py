"""Which thresholds accounts have passed by their rows, against the alerts that were noted. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# As a plan has them by default (docs/limits.md), reckoned here once more.
REMAINING_MINUTES = (10, 5, 1)
PERCENT = (70, 90, 100)


@dataclass(frozen=True, slots=True)
class Noted:
    """A row of `usage_alerts`. Without a user the organization's own limit is meant; `period` is
    when it began, in epoch seconds."""

    organization_id: str
    user_id: str | None
    period: int
    kind: str
    value: int


def marks(limit: int) -> dict[tuple[str, int], int]:
    """The used seconds from which on each threshold of a limit is passed: (kind, value)."""
    remaining = {("remaining_minutes", m): limit - 60 * m for m in REMAINING_MINUTES}
    percent = {("percent", p): (p * limit + 99) // 100 for p in PERCENT}
    return {which: mark for which, mark in {**remaining, **percent}.items() if mark > 0}


def judge_alerts(
    organization_id: str,
    user_id: str | None,
    limit: int,
    used: tuple[int, int],
    noted: Iterable[Noted],
) -> Iterator[str]:
    """What is wrong with an account's alerts. `used`: seconds by the rows, and those that there may
    once have been, before some were lost with who recorded them."""
    rows = [
        each for each in noted if (each.organization_id, each.user_id) == (organization_id, user_id)
    ]
    times = Counter((each.kind, each.value) for each in rows)
    name = organization_id if user_id is None else f"{organization_id}/{user_id}"
    if len({each.period for each in rows}) > 1:
        yield f"{name} has alerts of several periods"
    for (kind, value), mark in marks(limit).items():
        count = times.pop((kind, value), 0)
        if count > 1:
            yield f"{name} has {count} alerts {kind} {value}"
        elif mark <= used[0] and not count:
            yield f"{name} has no alert {kind} {value}: {used[0]} s of {limit} s are used"
        elif count and mark > used[1]:
            yield f"{name} has an alert {kind} {value}, and used {used[0]} s of {limit} s"
    for kind, value in times:
        yield f"{name} has an alert {kind} {value}, which no threshold of it is"
