"""Answers and requests of `/api/admin/`, as JSON, but for sessions (`meter.ops_messages`)."""

from datetime import date, datetime
from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from meter.account_messages import EpochSecond, Moment, Text

MAX_PAGE = 500
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
PageCursor = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^[A-Za-z0-9_-]+$")]

# Hours a month, -1: unlimited. (Between the two there is nothing.)
Hours = Annotated[float, Meta(ge=-1, le=1_000_000_000)]
Name = Annotated[str, Meta(max_length=512, pattern=r"^[^\x00]*$")]
Zone = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")]
PlanId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
# An id of Stripe's, and the name of one of its meters' events.
StripeId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_]+$")]
MeterEventName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]
Currency = Annotated[str, Meta(pattern=r"^[a-z]{3}$")]
Cents = Annotated[int, Meta(ge=0, le=2_000_000_000)]
LimitValue = Annotated[int, Meta(ge=-1, le=60_000_000_000)]
LimitSeconds = Annotated[int, Meta(ge=-1, le=3_600_000_000_000)]
AdjustedSeconds = Annotated[int, Meta(ge=-3_600_000_000_000, le=3_600_000_000_000)]

Item = TypeVar("Item")


class Page(Struct, Generic[Item], frozen=True):
    """Part of a list. `next_cursor` leads to the next part, and is null on the last one."""

    items: tuple[Item, ...]
    next_cursor: str | None


# Organizations and members ----------------------------------------------------------------------


class Organization(Struct, frozen=True):
    """An account. Its own monthly limit holds before its plan's: in hours, null: the plan's, -1:
    unlimited. `limit_seconds` is what holds, null when unlimited. `plan_id` is null without one."""

    id: str
    name: str
    monthly_audio_hours_limit: float | None
    limit_seconds: int | None
    time_zone: str
    plan_id: str | None
    stripe_customer_id: str | None
    members: int
    created_at: datetime


class NewOrganization(Struct, frozen=True, forbid_unknown_fields=True):
    """An organization to make. Its `id` is written in paths: without a slash, a control character
    or a space at its ends, and neither `.` nor `..`."""

    id: Text
    name: Name = ""
    monthly_audio_hours_limit: Hours | None = None
    time_zone: Zone = "UTC"
    stripe_customer_id: StripeId | None = None


class OrganizationChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given changes. Without a limit of its own (null), the plan's holds."""

    name: Name | UnsetType = UNSET
    monthly_audio_hours_limit: Hours | UnsetType | None = UNSET
    time_zone: Zone | UnsetType = UNSET
    stripe_customer_id: StripeId | UnsetType | None = UNSET


class Member(Struct, frozen=True):
    """A member, with their own monthly limit in hours (null or -1: none), and what they used in
    the calendar month of UTC."""

    organization_id: str
    user_id: str
    monthly_audio_hours_limit: float | None
    limit_seconds: int | None
    current_month_start: date | None
    current_month_minutes_used: int
    created_at: datetime


class MemberChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A member's limit; who isn't a member becomes one. A limit that isn't given stays as it is."""

    monthly_audio_hours_limit: Hours | UnsetType | None = UNSET


class LimitChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A monthly limit to the second, of the organization or of one of its members; null or -1:
    none."""

    limit_seconds: LimitSeconds | None
    user_id: Text | None = None


class AccountLimit(Struct, frozen=True):
    """A limit and what was used of it in the present period, as far as it is durable, in seconds;
    no limit: null. `adjusted_seconds` are in `used_seconds`, which a credit may take below zero."""

    organization_id: str
    user_id: str | None
    plan_id: str | None
    time_zone: str
    period_start: int
    period_end: int
    limit_seconds: int | None
    used_seconds: int
    remaining_seconds: int | None
    adjusted_seconds: int


# Plans ------------------------------------------------------------------------------------------


class Plan(Struct, frozen=True):
    """A plan, with what it includes by usage type (-1: unlimited) and how many accounts have it."""

    id: str
    name: str
    price_cents: int
    currency: str
    is_default: bool
    limits: dict[str, int]
    soft_cap: bool
    overage_ceiling_seconds: int | None
    grace_seconds: int | None
    grace_is_overage: bool
    max_concurrent_sessions: int | None
    max_session_seconds: int | None
    warn_minutes_remaining: tuple[int, ...]
    warn_percent_used: tuple[int, ...]
    billing_increment: str
    billing_rounding: str
    stripe_price_id: str | None
    stripe_meter_event_name: str | None
    accounts: int
    created_at: datetime


Minutes = Annotated[tuple[Annotated[int, Meta(ge=1, le=1_000_000)], ...], Meta(max_length=20)]
Percents = Annotated[tuple[Annotated[int, Meta(ge=1, le=1000)], ...], Meta(max_length=20)]
Ceiling = Annotated[int, Meta(ge=-1, le=3_600_000_000_000)]
Grace = Annotated[int, Meta(ge=0, le=3600)]
# -1: unlimited. (0 is refused.)
Sessions = Annotated[int, Meta(ge=-1, le=1_000_000)]
Longest = Annotated[int, Meta(ge=-1, le=86_400)]
Steps = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$")]
Rounding = Annotated[str, Meta(pattern=r"^(session|period)$")]


class PlanChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given changes, for all accounts with the plan, within seconds. `limits` are set by
    usage type; a null takes one away, so that none of it is included."""

    name: Text | UnsetType = UNSET
    price_cents: Cents | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET
    limits: Annotated[dict[Text, LimitValue | None], Meta(max_length=100)] | UnsetType = UNSET
    soft_cap: bool | UnsetType = UNSET
    overage_ceiling_seconds: Ceiling | UnsetType | None = UNSET
    grace_seconds: Grace | UnsetType | None = UNSET
    grace_is_overage: bool | UnsetType = UNSET
    max_concurrent_sessions: Sessions | UnsetType | None = UNSET
    max_session_seconds: Longest | UnsetType | None = UNSET
    warn_minutes_remaining: Minutes | UnsetType = UNSET
    warn_percent_used: Percents | UnsetType = UNSET
    billing_increment: Steps | UnsetType = UNSET
    billing_rounding: Rounding | UnsetType = UNSET
    stripe_price_id: StripeId | UnsetType | None = UNSET
    stripe_meter_event_name: MeterEventName | UnsetType | None = UNSET


class NewPlan(PlanChange, frozen=True, kw_only=True):
    """A plan to make; what isn't given is as with the plans that come with the meter. Its `id` is
    written in paths, as an organization's is."""

    id: PlanId
    name: Text


# Subscriptions ----------------------------------------------------------------------------------

Status = Annotated[str, Meta(pattern=r"^(trialing|active|past_due|canceled|expired)$")]
LiveStatus = Annotated[str, Meta(pattern=r"^(trialing|active|past_due)$")]
Cycle = Annotated[str, Meta(pattern=r"^(calendar|anniversary)$")]


class PlanSubscription(Struct, frozen=True):
    """An account's plan, from when to when. One of an account holds: that without `ended_at`."""

    id: int
    organization_id: str
    plan_id: str
    status: str
    billing_cycle: str
    started_at: datetime
    ended_at: datetime | None
    stripe_subscription_id: str | None
    created_at: datetime


class NewSubscription(Struct, frozen=True, forbid_unknown_fields=True):
    """A plan for an account, in place of the one it has; what it used stays."""

    organization_id: Text
    plan_id: PlanId
    status: LiveStatus = "active"
    billing_cycle: Cycle = "calendar"


class SubscriptionChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given changes. `canceled` and `expired` end it now, for good."""

    plan_id: PlanId | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    billing_cycle: Cycle | UnsetType = UNSET


# Adjustments ------------------------------------------------------------------------------------


class Adjustment(Struct, frozen=True):
    """Seconds that somebody added to what was used (or, below zero, gave back), who and why."""

    id: int
    organization_id: str
    user_id: str | None
    seconds: int
    effective_at: datetime
    reason: str
    author: str
    created_at: datetime


Reason = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


class NewAdjustment(Struct, frozen=True, forbid_unknown_fields=True):
    """Of the organization's figure, and with a `user_id` of the member's too. It belongs to the
    period that holds `effective_at`: now, unless it is given; it is at most 365 days ahead. The
    author is the token's user."""

    organization_id: Text
    seconds: AdjustedSeconds
    reason: Reason
    user_id: Text | None = None
    effective_at: EpochSecond | Moment | None = None


# Analytics --------------------------------------------------------------------------------------


class UsageDay(Struct, frozen=True):
    """What was used on a day (by each account's time zone), and by how many."""

    day: date
    seconds: int
    organizations: int
    users: int


class TopOrganization(Struct, frozen=True):
    """An organization and what it used."""

    organization_id: str
    plan_id: str | None
    seconds: int
    users: int


class PlanUsage(Struct, frozen=True):
    """What the accounts used that have a plan now; null: those without one."""

    plan_id: str | None
    accounts: int
    active_accounts: int
    seconds: int


class FeatureAdoption(Struct, frozen=True):
    """How much of a usage type was used, and by how many, by the plan of that time."""

    usage_type: str
    plan_id: str | None
    amount: int
    users: int


class Analytics(Struct, frozen=True):
    """What was recorded from one day to another, both included. The largest organizations are
    listed first, at most 100 of them. `adjusted_seconds` were added by hand (or given back, below
    zero) on these days of UTC, and are in no other figure here."""

    first_day: date
    last_day: date
    seconds: int
    minutes: int
    adjusted_seconds: int
    organizations: int
    users: int
    sessions: int
    days: tuple[UsageDay, ...]
    top_organizations: tuple[TopOrganization, ...]
    plans: tuple[PlanUsage, ...]
    features: tuple[FeatureAdoption, ...]


class PowerUser(Struct, frozen=True):
    """What somebody recorded in some days, and on how many of them."""

    user_id: str
    seconds: int
    days_active: int
    last_day: date


class DroppedOffUser(Struct, frozen=True):
    """Somebody who recorded `seconds` within the days that were asked for, and the last time `idle`
    days ago."""

    user_id: str
    last_day: date
    idle: int
    seconds: int


class Adoption(Struct, frozen=True):
    """How much of a usage type was used in a month (its first day), and by how many users, by the
    plan that their accounts had at the time (`none`: without one), which `accounts` had in all."""

    month: date
    tier: str
    usage_type: str
    users: int
    amount: int
    accounts: int
