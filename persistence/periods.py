"""Billing periods in Postgres: accounts' cycles, and the periods whose figures are kept.

An account without a row in `billing_cycles` has calendar months in UTC, whose figures are in
`monthly_usage_cache`. The others have rows in `billing_periods`, made some time ahead, and figures
in `period_usage`.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from meter.cycles import CycleChange, Cycles, cycles_of
from meter.ledger.types import StorageUnavailable
from meter.periods import BillingCycle, Period, UnknownTimeZone, time_zone
from persistence.database import Connection, Database
from persistence.errors import RowsRefused
from persistence.statements import statement

logger = logging.getLogger(__name__)

# Periods are made two ahead, so this is early enough by far.
INTERVAL_SECONDS = 600.0
TURN_SECONDS = 0.5
RETRY_SECONDS = 2.0
BATCH_ORGANIZATIONS = 100

Used = tuple[int, int]
Made = tuple[str, Period]


async def load_cycles(connection: Connection, organizations: Sequence[str]) -> dict[str, Cycles]:
    """The cycles of those of the organizations that ever had others than calendar months in UTC."""
    changes: dict[str, list[CycleChange]] = {}
    for row in await connection.fetch(statement("load_cycles"), organizations):
        cycle = BillingCycle(_known_zone(row["time_zone"]), row["anchor_day"])
        changes.setdefault(row["organization_id"], []).append(CycleChange(row["set_at"], cycle))
    return {organization: cycles_of(each) for organization, each in changes.items()}


async def load_period_usage(
    connection: Connection, organization_id: str, user_id: str, periods: Iterable[Period]
) -> dict[Period, Used]:
    """Seconds used by an organization and by a member in those of the periods that were made."""
    starts = [datetime.fromtimestamp(period.start, UTC) for period in periods]
    rows = await connection.fetch(statement("load_period_usage"), organization_id, user_id, starts)
    return {
        Period(row["period_start"], row["period_end"]): (
            row["organization_used"],
            row["member_used"],
        )
        for row in rows
    }


async def make_periods(connection: Connection, organizations: Sequence[str], now: int) -> int:
    """Make the periods from the one before `now` to the second one after it that are missing, and
    remove those that a change of the cycle has overtaken; how many were made. Those of an account
    that always had calendar months in UTC aren't.

    In one transaction, which gives up after a second where somebody holds `usage_tracking` for
    long. Raises the driver's errors.
    """
    if not any(await _differences(connection, organizations, now)):
        return 0
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(statement("lock_periods"))
        missing, stale = await _differences(connection, organizations, now)
        if stale:
            names, starts, _ = _columns(stale)
            await connection.execute(statement("drop_periods"), names, starts)
        if missing:
            await connection.execute(statement("make_periods"), *_columns(missing))
    return len(missing)


@dataclass(frozen=True, slots=True)
class AccountPeriods:
    """An account's present period and the next one, and the cycle of each."""

    organization_id: str
    present: Period
    present_cycle: BillingCycle
    next: Period
    next_cycle: BillingCycle


class NoSubscription(Exception):
    """An organization without a subscription, whose start an anniversary would be of."""


async def set_cycle(
    database_url: str,
    organization_id: str,
    zone: str | None = None,
    kind: Literal["calendar", "anniversary"] | None = None,
) -> AccountPeriods:
    """Set an organization's time zone, and of what kind the periods of its present subscription
    are; what is None stays. Both come into force with the next period, or at once when nothing was
    recorded yet. An organization that is missing is made.

    Raises `StorageUnavailable` when Postgres cannot be asked, `RowsRefused` for a zone that it
    doesn't know, and `NoSubscription`; then nothing is set.
    """
    database = Database(database_url, name="minute-meter limits", max_connections=1)
    try:
        async with database.connection() as connection, connection.transaction():
            if zone is not None:
                await connection.execute(statement("set_time_zone"), organization_id, zone)
            if kind is not None and not await connection.fetch(
                statement("set_billing_cycle"), organization_id, kind
            ):
                raise NoSubscription(organization_id)
            found = await load_cycles(connection, [organization_id])
    finally:
        await database.aclose()
    cycles = found.get(organization_id, Cycles())
    _, present, following = cycles.around(int(time.time()))
    return AccountPeriods(
        organization_id,
        present,
        cycles.at(present.start),
        following,
        cycles.at(following.start),
    )


class PeriodsKeeper:
    """Makes accounts' periods, ahead and as they change. Several at once, or one that dies, only
    look again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: set[str] = set()
        self._look_at = 0.0

    def ask(self, organizations: Iterable[str]) -> None:
        """Have the periods of these made soon, as their cycles may have changed."""
        self._asked.update(organizations)

    async def run(self, stop: asyncio.Event) -> None:
        """Make what is asked for, and now and then all that will be needed, until `stop` is set."""
        while not stop.is_set():
            pause_seconds = await self._turn()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_seconds)

    async def make_asked(self) -> int:
        """Make what was asked for; how many periods. Raises `StorageUnavailable`, and then what was
        asked for is not forgotten."""
        made = 0
        while self._asked:
            organizations = sorted(self._asked)[:BATCH_ORGANIZATIONS]
            self._asked.difference_update(organizations)  # they may be asked for again meanwhile
            try:
                async with self._database.connection() as connection:
                    made += await make_periods(connection, organizations, int(time.time()))
            except BaseException:
                self._asked.update(organizations)
                raise
        return made

    async def make_ahead(self) -> int:
        """Make what will be needed; how many periods. Raises `StorageUnavailable`."""
        now, made, last = int(time.time()), 0, ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(
                    statement("load_short_of_periods"), now, last, BATCH_ORGANIZATIONS
                )
                organizations = [row["organization_id"] for row in rows]
                if organizations:
                    made += await make_periods(connection, organizations, now)
            if len(organizations) < BATCH_ORGANIZATIONS:
                return made
            last = organizations[-1]

    async def _turn(self) -> float:
        """One look; seconds until the next."""
        now = time.monotonic()
        try:
            made = await self.make_asked()
            if now >= self._look_at:
                made += await self.make_ahead()
                self._look_at = now + INTERVAL_SECONDS
        except (StorageUnavailable, RowsRefused) as error:
            # Until then their figures are exact all the same, if slower to read.
            logger.warning("periods cannot be made now: %s", error)
            return RETRY_SECONDS
        if made:
            logger.info("made %d periods", made)
        return TURN_SECONDS


async def _differences(
    connection: Connection, organizations: Sequence[str], now: int
) -> tuple[set[Made], set[Made]]:
    """The periods that are to be made, and those that are to go."""
    cycles = await load_cycles(connection, organizations)
    wanted: set[Made] = set()
    for organization, each in cycles.items():
        before, present, after = each.around(now)
        periods = (before, present, after, each.period_of(after.end))
        wanted |= {(organization, period) for period in periods}
    made = await _made_since(connection, wanted)
    return (
        wanted - made,
        {(name, period) for name, period in made if cycles[name].period_of(period.start) != period},
    )


async def _made_since(connection: Connection, wanted: Iterable[Made]) -> set[Made]:
    """The periods that are there, and end after the first one that is wanted of the account."""
    since: dict[str, int] = {}
    for organization, period in wanted:
        since[organization] = min(period.start, since.get(organization, period.start))
    rows = await connection.fetch(statement("load_periods"), list(since), list(since.values()))
    return {
        (row["organization_id"], Period(row["period_start"], row["period_end"])) for row in rows
    }


def _columns(periods: Iterable[Made]) -> tuple[list[str], list[int], list[int]]:
    ordered = sorted(periods)
    return (
        [organization for organization, _ in ordered],
        [period.start for _, period in ordered],
        [period.end for _, period in ordered],
    )


@lru_cache(maxsize=1024)  # also says each error once
def _known_zone(name: str) -> str:
    """The name of a zone, or UTC's where this machine's time zones are older than Postgres'."""
    try:
        time_zone(name)
    except UnknownTimeZone as error:
        logger.error("%s on this machine: update its tzdata; until then it is UTC here", error)
        return "UTC"
    return name
