"""Uses several usage types in one call: features in Postgres, minutes in the ledger, where they
count with those of live sessions and never pass the limit."""

import math
import time
from collections.abc import Mapping
from uuid import UUID, uuid4, uuid5

import msgspec

from gateway.check_limit import LimitChecker, limit_check
from gateway.http.books import AccountBooks
from gateway.http.tracking import MinuteTracker
from gateway.identity import Identity
from gateway.problems import ProblemCode, refuse
from meter.account_messages import TrackedUsage, UsageAnswer, UsedType
from meter.ledger.types import UNLIMITED, Standing

MINUTES = "minutes_per_month"
PERIOD = "month"
# A session that has just ended may have begun so long ago, and still be in time.
MOST_SECONDS = 86_400 - 60
DAY_SECONDS = 86_400

# A key is kept for so long, and a minute: one that comes back after a day is not taken for a call
# of which the answer got lost.
KEY_SECONDS = DAY_SECONDS - 60
# Gateways' clocks are no further apart.
APART_SECONDS = 60

# Sessions of calls with a key have an id of it: such a call is made once, whoever dies meanwhile.
_NAMESPACE = UUID("5f1c1b52-9d0a-4a5e-8a53-3b5f0c7f9b1e")


class Spender:
    """Raises `LedgerUnavailable`, `StorageUnavailable`, `Refused` and `Problem`."""

    def __init__(self, checker: LimitChecker, tracker: MinuteTracker) -> None:
        self._checker = checker
        self._tracker = tracker

    async def ask_minutes(self, identity: Identity, minutes: float) -> UsageAnswer:
        """May so many minutes be recorded?"""
        standing = await self._standing(identity)
        check = limit_check(standing)
        return UsageAnswer(
            allowed=_has_room(standing, _seconds(minutes)),
            usage_type=MINUTES,
            current_usage=check.minutes_used,
            limit=check.minutes_limit,
            remaining=check.minutes_remaining,
            unlimited=check.unlimited,
            period=PERIOD,
            period_start=check.period_start,
            period_end=check.period_end,
        )

    async def use(
        self, identity: Identity, books: AccountBooks, usages: dict[str, float], key: str | None
    ) -> TrackedUsage:
        """All that is named, or none where one has no room. In the books' transaction; the minutes
        come last, as they can't be taken back."""
        minutes = usages.get(MINUTES)
        features = {name: amount for name, amount in usages.items() if name != MINUTES}
        check_whole(features)
        if minutes is None:
            return await _use_features(identity, books, features)
        seconds = _seconds(minutes)
        if seconds > MOST_SECONDS:
            raise refuse(
                ProblemCode.INVALID_VALUE, f"at most {MOST_SECONDS // 60} minutes are used at once"
            )
        # A cold account is seeded before anything is written that the seeding might wait for.
        await self._standing(identity)
        await books.hold_usages(identity.organization_id)
        if key is not None and await self._was_made(identity, usages, seconds, key):
            # It died after the minutes, and before the rest was committed.
            lines = list((await _use_features(identity, books, features)).usages)
            return await self._told(identity, True, lines, minutes)
        if await books.came_by_sql(identity.organization_id):
            await self._tracker.catch_up(identity.organization_id)
        session_id = str(uuid4()) if key is None else _session_of(identity, usages, key, now())
        try:
            async with books.attempt():
                taken = await _use_features(identity, books, features)
                if taken.allowed and not await self._tracker.record(identity, session_id, seconds):
                    raise _NoRoom
        except _NoRoom:
            unused = [await _unused(identity, books, *each) for each in features.items()]
            return await self._told(identity, False, unused, minutes)
        return await self._told(identity, taken.allowed, list(taken.usages), minutes)

    async def _was_made(
        self, identity: Identity, usages: dict[str, float], seconds: int, key: str
    ) -> bool:
        """Whether the minutes of this call were counted by an earlier try of it."""
        present = now()
        moments = present - DAY_SECONDS, present, present + APART_SECONDS
        tries = {_session_of(identity, usages, key, moment) for moment in moments}
        return await self._tracker.is_recorded(
            identity, sorted(tries), seconds, present - KEY_SECONDS
        )

    async def _standing(self, identity: Identity) -> Standing:
        return await self._checker.standing(identity.organization_id, identity.user_id)

    async def _told(
        self, identity: Identity, allowed: bool, lines: list[UsedType], minutes: float
    ) -> TrackedUsage:
        line = _line(await self.ask_minutes(identity, minutes), minutes)
        return TrackedUsage(
            allowed, tuple(sorted([*lines, line], key=lambda each: each.usage_type))
        )


class _NoRoom(Exception):
    """There is none for the minutes, so the features are given back."""


def check_whole(features: Mapping[str, float]) -> None:
    """Only minutes have parts: all else is counted. Raises `Problem`."""
    if not all(float(amount).is_integer() for amount in features.values()):
        raise refuse(ProblemCode.INVALID_VALUE, "amounts are whole numbers, but for minutes")


async def _use_features(
    identity: Identity, books: AccountBooks, features: dict[str, float]
) -> TrackedUsage:
    if not features:
        return TrackedUsage(True, ())
    return await books.use(
        identity.organization_id, identity.user_id, msgspec.json.encode(features)
    )


async def _unused(
    identity: Identity, books: AccountBooks, usage_type: str, amount: float
) -> UsedType:
    found = await books.usage_type(identity.organization_id, identity.user_id, usage_type, amount)
    if found is None:
        raise refuse(ProblemCode.INVALID_VALUE, "there is no such usage type")
    return _line(found, amount)


def _line(answer: UsageAnswer, amount: float) -> UsedType:
    return UsedType(
        usage_type=answer.usage_type,
        amount=amount,
        limit=answer.limit,
        used=answer.current_usage,
        remaining=answer.remaining,
        unlimited=answer.unlimited,
        period=answer.period,
        period_start=answer.period_start,
        period_end=answer.period_end,
    )


def _seconds(minutes: float) -> int:
    return math.ceil(round(minutes * 60, 3))  # 0.7 minutes are 42 seconds, and not 43


def _session_of(identity: Identity, usages: Mapping[str, float], key: str, moment: float) -> str:
    """The id of the session that this call makes on the UTC day of an epoch second."""
    asked = sorted(usages.items())
    names = identity.organization_id, identity.user_id, key, asked, int(moment) // DAY_SECONDS
    return str(uuid5(_NAMESPACE, msgspec.json.encode(names).decode()))


def now() -> float:
    """Epoch seconds, by this machine's clock."""
    return time.time()


def _has_room(standing: Standing, seconds: int) -> bool:
    """Whether all of so many seconds would count, with the overage that the plan bills."""
    member_limit = standing.member_limit
    if member_limit != UNLIMITED and standing.member_used + seconds > member_limit:
        return False
    overage = standing.terms.overage_seconds
    if standing.limit == UNLIMITED or overage == UNLIMITED:
        return True
    return standing.used + seconds <= standing.limit + overage
