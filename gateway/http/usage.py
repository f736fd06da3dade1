"""`/api/usage` and `/api/users`: minutes, for those who record them."""

import time
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.check_limit import LimitChecker, limit_check
from gateway.http.operations import AnyOperation, Call, Needs, Nothing, Operation, Tag
from gateway.http.tracking import MinuteTracker
from gateway.problems import ProblemCode
from meter.account_messages import CurrentMonth, TrackedMinute, TrackMinute
from meter.billing import used_minutes
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

    def __init__(self, checker: LimitChecker, tracker: MinuteTracker) -> None:
        self._checker = checker
        self._tracker = tracker

    def operations(self) -> list[AnyOperation]:
        """The table's entries."""
        return [*self._minutes(), *self._figures()]

    def _minutes(self) -> list[AnyOperation]:
        return [
            Operation(
                method="GET",
                path="/api/usage/check-limit",
                name="checkLimit",
                tag=Tag.USAGE,
                summary="May this user record on?",
                scopes=("usage", "record"),
                handler=self.check_limit,
                params=Nothing,
                body=Nothing,
                answer=LimitCheck,
                needs=Needs.NOTHING,
            ),
            Operation(
                method="POST",
                path="/api/usage/track-minute",
                name="trackMinute",
                tag=Tag.USAGE,
                summary="Record a minute without a WebSocket",
                scopes=("record",),
                handler=self.track_minute,
                params=Nothing,
                body=TrackMinute,
                answer=TrackedMinute,
                needs=Needs.NOTHING,
                problems=(
                    ProblemCode.LIMIT_REACHED,
                    ProblemCode.TOO_MANY_SESSIONS,
                    ProblemCode.SESSION_ENDED,
                    ProblemCode.SESSION_TOO_LONG,
                    ProblemCode.MINUTE_IN_FUTURE,
                    ProblemCode.MINUTE_TOO_LATE,
                ),
            ),
        ]

    def _figures(self) -> list[AnyOperation]:
        return [
            Operation(
                method="GET",
                path="/api/usage/current-month",
                name="currentMonth",
                tag=Tag.USAGE,
                summary="The month's figures, and where it will end",
                scopes=("usage",),
                handler=self.current_month,
                params=MonthParams,
                body=Nothing,
                answer=CurrentMonth,
            ),
            Operation(
                method="GET",
                path="/api/users/stats-v2",
                name="userStats",
                tag=Tag.USERS,
                summary="A user's statistics, to the minute",
                scopes=("usage",),
                handler=self.stats,
                params=StatsParams,
                body=Nothing,
                answer=UserStats,
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
        identity = call.identity
        standing = await self._checker.standing(identity.organization_id, identity.user_id)
        check = limit_check(standing)
        whose = identity.user_id if check.scope == "member" else None
        days = await call.books.usage_days(identity.organization_id, whose)
        total = check.used_seconds + (check.overage_seconds if whose is None else 0)
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
            recorded_by_you_seconds=standing.member_used,
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
        standing = await self._checker.standing(identity.organization_id, identity.user_id)
        check = limit_check(standing)
        days = await books.usage_days(identity.organization_id, identity.user_id)
        lifetime = await books.lifetime(identity.user_id)
        total = check.used_seconds
        if check.scope == "organization":
            total += check.overage_seconds
        projection = project(
            standing.period, total, check.limit_seconds, time.time(), days.time_zone
        )
        mine = max(standing.member_used, 0)
        return UserStats(
            user_id=identity.user_id,
            organization_id=identity.organization_id,
            current_month=_present_month(check, mine),
            total_audio_hours=_hours(lifetime.total_seconds),
            monthly_audio_hours_used=_hours(mine),
            monthly_audio_hours_limit=_hours_or_none(check.limit_seconds),
            monthly_audio_hours_remaining=_hours_or_none(check.remaining_seconds),
            lifetime=lifetime,
            months=tuple(
                await books.months(identity.organization_id, identity.user_id, call.params.months)
            ),
            milestones=tuple(await books.milestones(identity.user_id)),
            projection=projection,
            recommendations=tuple(
                Recommendation(code, message)
                for code, message in recommend(
                    check.limit_seconds, check.remaining_seconds, projection
                )
            ),
        )


def _present_month(check: LimitCheck, mine: int) -> PresentMonth:
    return PresentMonth(
        period_start=check.period_start,
        period_end=check.period_end,
        seconds_used=mine,
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
