"""Answers and requests of `/api/usage`, `/api/users` and `/api/billing`, as JSON.

Seconds are exact; minutes are for people: used ones are rounded up, limits and what remains down.
`period_start` and its like are epoch seconds, days are dates in the account's time zone. What has
no limit has null, and `-1` where a limit is a number that users of the billing database know.
"""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from meter.messages import Binding, Usage

# Postgres' text has no null character.
Text = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\x00]*$")]
Email = Annotated[str, Meta(min_length=3, max_length=320, pattern=r"^[^\x00\s@]+@[^\x00\s@]+$")]
# From 1970 on, and far from what no calendar has.
EpochSecond = Annotated[int, Meta(ge=0, le=253_402_300_799)]
Moment = Annotated[datetime, Meta(tz=True)]
Amount = Annotated[int, Meta(ge=1, le=1_000_000_000)]


# Minutes ----------------------------------------------------------------------------------------


class TrackMinute(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds recorded in one UTC minute: its first `seconds_recorded` ones.

    `minute_timestamp` is any moment of the minute: a date-time with its offset, or epoch seconds.
    `session_started_at` says when a session began whose first minute isn't the first to be sent.
    """

    session_id: UUID
    seconds_recorded: Annotated[int, Meta(ge=1, le=60)]
    minute_timestamp: EpochSecond | Moment
    session_started_at: EpochSecond | Moment | None = None


class TrackedMinute(Struct, frozen=True):
    """What of a minute is counted. `seconds_recorded` of the seconds that were asked for are, of
    which `seconds_new` were not before; `seconds_refused` had no room in the limit.
    `minute_timestamp` is the minute's start, in epoch seconds."""

    session_id: str
    minute_timestamp: int
    seconds_recorded: int
    seconds_new: int
    seconds_refused: int
    limit_reached: bool
    session_seconds: int
    usage: Usage | None


class Day(Struct, frozen=True):
    """What was used on a day, by the account's time zone."""

    day: date
    seconds: int
    minutes: int


class Projection(Struct, frozen=True):
    """Where the period will end, used on as until now. `days_elapsed` has the running day in part.
    `limit_reached_on` is the day on which that passes the limit; null: not in this period."""

    days_elapsed: float
    days_in_period: float
    daily_average_minutes: float
    projected_seconds: int
    projected_minutes: int
    projected_percentage: float | None
    will_exceed_limit: bool
    limit_reached_on: date | None


class CurrentMonth(Struct, frozen=True):
    """The present period. Figures are those of the limit that binds, out of live sessions too.
    `adjusted_seconds` were added by hand (or given back, below zero), and are in `used_seconds`,
    which may be below zero then; minutes, the percentage and the projection never are.

    `daily_breakdown` is null unless it was asked for; its days are what was recorded and is
    durable, a minute or so behind, without `adjusted_seconds`.
    What the caller recorded of the organization's seconds is `recorded_by_you_seconds`."""

    period_start: int
    period_end: int
    time_zone: str
    minutes_used: int
    minutes_limit: int | None
    minutes_remaining: int | None
    percentage_used: float | None
    used_seconds: int
    limit_seconds: int | None
    remaining_seconds: int | None
    unlimited: bool
    scope: Binding
    overage_seconds: int
    overage_minutes: int
    recorded_by_you_seconds: int
    adjusted_seconds: int
    projection: Projection
    daily_breakdown: tuple[Day, ...] | None


# Billing: plans and features ---------------------------------------------------------------------

Number = Annotated[float, Meta(ge=0.001, le=1_000_000_000)]


class InitUser(Struct, frozen=True, forbid_unknown_fields=True):
    """`email` is kept with the user, where it is given. `clerk_id`, here and in the other
    requests of the kind, is what clients of the older system may send: the token's user."""

    email: Email | None = None
    clerk_id: Text | None = None


class InitializedUser(Struct, frozen=True):
    """The internal record of the token's user, and the subscription of the personal account."""

    user_uuid: str
    user_id: str
    email: str | None
    subscription: "Subscription | None"


class Subscription(Struct, frozen=True):
    """What an account has subscribed to: a plan, since when, and its present period."""

    organization_id: str
    plan_id: str
    plan_name: str
    price_cents: int
    currency: str
    status: str
    billing_cycle: str
    time_zone: str
    started_at: datetime
    current_period_start: int
    current_period_end: int


class SubscriptionInfo(Struct, frozen=True):
    """`subscription` is null for an account without one. Then no plan limits an organization; a
    personal account is held to the plan of new users all the same."""

    subscription: Subscription | None


class UsageQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """May so much of a usage type be used? Whole numbers, but for minutes."""

    usage_type: Text
    amount: Number = 1
    clerk_id: Text | None = None


class UsageAnswer(Struct, frozen=True):
    """How the account stands with a usage type in its present period. `limit` and `remaining` are
    null when unlimited, the period's ends are of a lifetime."""

    allowed: bool
    usage_type: str
    current_usage: int
    limit: int | None
    remaining: int | None
    unlimited: bool
    period: str
    period_start: int | None
    period_end: int | None


class TrackUsage(Struct, frozen=True, forbid_unknown_fields=True):
    """Either one `usage_type` with its `amount`, or several `usages` by type: all are taken, or
    none. Whole numbers, but for minutes, of which a call takes at most 1439."""

    usage_type: Text | None = None
    amount: Number = 1
    usages: Annotated[dict[Text, Number], Meta(min_length=1, max_length=50)] | None = None
    clerk_id: Text | None = None


class UsedType(Struct, frozen=True):
    """A usage type after a call, `amount` of which was asked for."""

    usage_type: str
    amount: float
    limit: int | None
    used: int
    remaining: int | None
    unlimited: bool
    period: str
    period_start: int | None
    period_end: int | None


class TrackedUsage(Struct, frozen=True):
    """Whether there was room. Where there was none in one of them, nothing was used."""

    allowed: bool
    usages: tuple[UsedType, ...]


class TypeSummary(Struct, frozen=True):
    """How the account stands with one usage type."""

    usage_type: str
    unit: str
    period: str
    period_start: int | None
    period_end: int | None
    limit: int | None
    current_usage: int
    remaining: int | None
    unlimited: bool
    percentage_used: float | None


class UsageSummary(Struct, frozen=True):
    """How the account stands with every usage type, by the types' names."""

    organization_id: str
    user_id: str
    usages: tuple[TypeSummary, ...]
