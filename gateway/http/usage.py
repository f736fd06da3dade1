"""`/api/usage` and `/api/users`: minutes, for those who record them."""

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.check_limit import LimitChecker, limit_check
from gateway.http.operations import AnyOperation, Call, Group, Needs, Nothing, Tag
from gateway.http.telling import Teller
from gateway.http.tracking import MinuteTracker
from gateway.problems import ProblemCode
from meter.account_messages import CurrentMonth, TrackedMinute, TrackMinute
from meter.billing import used_minutes
from meter.ledger.types import Standing
from meter.profile_messages import PresentMonth, Recommendation, UserStats
from meter.projection import project, recommend
from meter.usage_messages import LimitCheck

MONTHS = 12


class MonthParams(msgspec.Struct, frozen=True):
    """`daily=true` asks for the days."""

    daily: bool = False


class StatsParams(msgspec.Struct, frozen=True):
    """How many months to list."""

    months: Annotated[int, Meta(ge=0, le=60)] = MONTHS


class UsageOperations:
    """What is asked of minutes."""

    def __init__(self, checker: LimitChecker, tracker: MinuteTracker, teller: Teller) -> None:
        self._checker = checker
        self._tracker = tracker
        self._teller = teller

    def operations(self) -> list[AnyOperation]:
        """The table's entries."""
        usage = "/api/usage"
        return [
            Group(Tag.USAGE, "usage", "record").get(
                usage + "/check-limit",
                self.check_limit,
                "May this user record on?",
                needs=Needs.NOTHING,
            ),
            Group(Tag.USAGE, "record").post(
                usage + "/track-minute",
                self.track_minute,
                "Record a minute without a WebSocket",
                needs=Needs.NOTHING,
                problems=(
                    ProblemCode.SESSION_NOT_FOUND,
                    ProblemCode.LIMIT_REACHED,
                    ProblemCode.TOO_MANY_SESSIONS,
                    ProblemCode.SESSION_ENDED,
                    ProblemCode.SESSION_TOO_LONG,
                    ProblemCode.MINUTE_IN_FUTURE,
                    ProblemCode.MINUTE_TOO_LATE,
                ),
            ),
            Group(Tag.USAGE, "usage").get(
                usage + "/current-month",
                self.current_month,
                "The month's figures, and where it will end",
            ),
            Group(Tag.USERS, "usage").get(
                "/api/users/stats-v2",
                self.stats,
                "A user's statistics, to the minute",
                name="userStats",
            ),
        ]

    async def check_limit(self, call: Call[Nothing, Nothing]) -> LimitCheck:
        """Out of the ledger, so never behind the live sessions."""
        identity = call.identity
        return limit_check(await self._checker.standing(identity.organization_id, identity.user_id))

    async def track_minute(self, call: Call[Nothing, TrackMinute]) -> TrackedMinute:
        """Counts the first `seconds_recorded` seconds of a UTC minute in a session, which is made
        where it is missing and belongs to its user. To send it again changes nothing. Where the
        limit has room for some of the seconds only, those are counted and the answer says so."""
        return await self._tracker.track(call.identity, call.body)

    async def current_month(self, call: Call[MonthParams, Nothing]) -> CurrentMonth:
        """The figures of the limit that binds, the organization's or the member's, out of the
        ledger; its days, as far as they are durable."""
        identity, books = call.identity, call.books
        async with books.snapshot():
            standing = await self._standing(call)
            check = limit_check(standing)
            own = check.scope == "member"
            days = await books.usage_days(identity.organization_id, identity.user_id, own=own)
        total = check.used_seconds + (0 if own else check.overage_seconds)
        return CurrentMonth(
            period_start=check.period_start,
            period_end=check.period_end,
            time_zone=days.time_zone,
            minutes_used=check.minutes_used,
            minutes_limit=check.minutes_limit,
            minutes_remaining=check.minutes_remaining,
            percentage_used=check.percentage_used,
            used_seconds=check.used_seconds,
            limit_seconds=check.limit_seconds,
            remaining_seconds=check.remaining_seconds,
            unlimited=check.unlimited,
            scope=check.scope,
            overage_seconds=check.overage_seconds,
            overage_minutes=check.overage_minutes,
            recorded_by_you_seconds=max(standing.member_used - days.own_adjusted_seconds, 0),
            adjusted_seconds=days.adjusted_seconds,
            projection=project(
                standing.period, total, check.limit_seconds, time.time(), days.time_zone
            ),
            daily_breakdown=days.days if call.params.daily else None,
        )

    async def stats(self, call: Call[StatsParams, Nothing]) -> UserStats:
        """The token's user: the present month out of the ledger, the months before and the lifetime
        as far as they are durable, with the fields of hours that were there before minutes were."""
        identity, books = call.identity, call.books
        organization_id, user_id = identity.organization_id, identity.user_id
        async with books.snapshot():
            standing = await self._standing(call)
            days = await books.usage_days(organization_id, user_id, own=True)
            lifetime = await books.lifetime(user_id)
            months = await books.months(organization_id, user_id, call.params.months)
            milestones = await books.milestones(user_id)
            offers = await books.offers(organization_id, user_id)
        check = limit_check(standing)
        total, is_plans = check.used_seconds, False
        if check.scope == "organization":
            total += check.overage_seconds
            is_plans = offers.is_limited_by_plan
        projection = project(
            standing.period, total, check.limit_seconds, time.time(), days.time_zone
        )
        mine = standing.member_used
        return UserStats(
            user_id=identity.user_id,
            organization_id=identity.organization_id,
            current_month=_present_month(check, mine, days.own_adjusted_seconds),
            total_audio_hours=_hours(lifetime.total_seconds),
            monthly_audio_hours_used=_hours(max(mine, 0)),
            monthly_audio_hours_limit=_hours_or_none(check.limit_seconds),
            monthly_audio_hours_remaining=_hours_or_none(check.remaining_seconds),
            lifetime=lifetime,
            months=tuple(months),
            milestones=tuple(milestones),
            projection=projection,
            recommendations=tuple(
                Recommendation(code, message)
                for code, message in recommend(
                    check.limit_seconds,
                    check.remaining_seconds,
                    projection,
                    offers.other_minutes if is_plans else (),
                )
            ),
        )

    async def _standing(self, call: Call[Any, Nothing]) -> Standing:
        """Where the account stands now, by the ledger. What the books' snapshot has of limits and
        adjustments, the ledger has too by then: so both may be told in one answer."""
        organization_id = call.identity.organization_id
        await self._teller.tell_these(await call.books.untold_limits([organization_id]))
        return await self._checker.standing(organization_id, call.identity.user_id)


def _present_month(check: LimitCheck, mine: int, adjusted: int) -> PresentMonth:
    return PresentMonth(
        period_start=check.period_start,
        period_end=check.period_end,
        seconds_used=mine,
        adjusted_seconds=adjusted,
        minutes_used=used_minutes(mine),
        account_seconds_used=check.used_seconds,
        minutes_limit=check.minutes_limit,
        minutes_remaining=check.minutes_remaining,
        percentage_used=check.percentage_used,
        unlimited=check.unlimited,
        scope=check.scope,
    )


def _hours(seconds: int) -> float:
    return round(seconds / 3600, 2)


def _hours_or_none(seconds: int | None) -> float | None:
    return None if seconds is None else _hours(seconds)
