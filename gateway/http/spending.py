"""Uses several usage types in one call: features in Postgres, minutes in the ledger, where they
count with those of live sessions and never pass the limit."""

import math
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
        await books.hold_usages(identity.organization_id)
        session_id = _session_of(identity, key)
        if not await self._tracker.is_recorded(session_id):
            if not _has_room(await self._standing(identity), seconds):
                lines = [await _unused(identity, books, *each) for each in features.items()]
                return await self._told(identity, False, lines, minutes)
            taken = await _use_features(identity, books, features)
            if not taken.allowed:
                return await self._told(identity, False, list(taken.usages), minutes)
            await self._tracker.record(identity, session_id, seconds)
            lines = list(taken.usages)
        else:
            # The call before this one died after the minutes, and before the rest was committed.
            lines = list((await _use_features(identity, books, features)).usages)
        return await self._told(identity, True, lines, minutes)

    async def _standing(self, identity: Identity) -> Standing:
        return await self._checker.standing(identity.organization_id, identity.user_id)

    async def _told(
        self, identity: Identity, allowed: bool, lines: list[UsedType], minutes: float
    ) -> TrackedUsage:
        line = _line(await self.ask_minutes(identity, minutes), minutes)
        return TrackedUsage(
            allowed, tuple(sorted([*lines, line], key=lambda each: each.usage_type))
        )


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


def _session_of(identity: Identity, key: str | None) -> str:
    if key is None:
        return str(uuid4())
    names = (identity.organization_id, identity.user_id, key)
    return str(uuid5(_NAMESPACE, msgspec.json.encode(names).decode()))


def _has_room(standing: Standing, seconds: int) -> bool:
    """Whether all of so many seconds would count, with the overage that the plan bills."""
    member_limit = standing.member_limit
    if member_limit != UNLIMITED and standing.member_used + seconds > member_limit:
        return False
    overage = standing.terms.overage_seconds
    if standing.limit == UNLIMITED or overage == UNLIMITED:
        return True
    return standing.used + seconds <= standing.limit + overage
