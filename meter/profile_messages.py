"""Answers and requests about a person: statistics (`/api/users`), and a profile's overview, credits
and chats (`/api/profile`), as JSON. Null limits: unlimited."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from meter.account_messages import Projection
from meter.messages import Binding

# Statistics -------------------------------------------------------------------------------------


class Month(Struct, frozen=True):
    """What a user recorded on the account in a calendar month of its time zone. `adjusted_seconds`
    were added to the user's by hand (or given back, below zero), and are not in `seconds_used`.
    Sessions are of the month they began in; the average and the longest are of completed ones.
    `overage_seconds` is null for members of an organization.
    `features_by_tier` has the amounts used of each usage type, by the plan that the account had at
    the time (`none`: without one); `tier` is the month's last plan."""

    month: date
    seconds_used: int
    adjusted_seconds: int
    minutes_used: int
    days_active: int
    sessions: int
    completed_sessions: int
    average_session_seconds: float | None
    longest_session_seconds: int | None
    overage_seconds: int | None
    features_used: int
    features_by_tier: dict[str, dict[str, int]]
    tier: str | None
    last_activity: datetime | None


class Lifetime(Struct, frozen=True):
    """A user's lifetime, over all accounts. Streaks are days in a row with something recorded."""

    total_sessions: int
    total_seconds: int
    total_minutes: int
    features_used: int
    days_active: int
    current_streak: int
    longest_streak: int
    average_sessions_per_month: float
    first_activity: datetime | None
    last_activity: datetime | None
    months_subscribed: int
    highest_tier: str | None


class Milestone(Struct, frozen=True):
    """Something to reach: a `value` of minutes, sessions, days active or the longest streak.
    Minutes are whole ones here, as nothing is reached by rounding: of 59 minutes and 59 seconds
    `present_value` is 59, and `total_minutes`, which are for bills, 60."""

    kind: str
    value: int
    present_value: int
    reached: bool


class Recommendation(Struct, frozen=True):
    """What the user might do; `code` is for programs, `message` for people."""

    code: str
    message: str


class PresentMonth(Struct, frozen=True):
    """The user's part of the present period, to the second, out of live sessions too; the limit is
    the one that binds. `adjusted_seconds` of the user's were added by hand, and are in
    `seconds_used`; a credit is below zero. Minutes and the percentage never are."""

    period_start: int
    period_end: int
    seconds_used: int
    adjusted_seconds: int
    minutes_used: int
    account_seconds_used: int
    minutes_limit: int | None
    minutes_remaining: int | None
    percentage_used: float | None
    unlimited: bool
    scope: Binding


class UserStats(Struct, frozen=True):
    """A user's statistics. The fields of hours are those of before minutes were counted, to two
    places: `total_audio_hours` of the lifetime, the others of the present period."""

    user_id: str
    organization_id: str
    current_month: PresentMonth
    total_audio_hours: float
    monthly_audio_hours_used: float
    monthly_audio_hours_limit: float | None
    monthly_audio_hours_remaining: float | None
    lifetime: Lifetime
    months: tuple[Month, ...]
    milestones: tuple[Milestone, ...]
    projection: Projection
    recommendations: tuple[Recommendation, ...]


# Profiles ---------------------------------------------------------------------------------------


class Overview(Struct, frozen=True):
    """A profile's minutes: over its lifetime those that the person recorded anywhere, this period
    those of the account that it uses, as far as they are durable."""

    profile_id: str
    organization_id: str
    membership: str
    plan_id: str | None
    total_minutes: int
    monthly_minutes_allocation: int | None
    minutes_used_this_month: int
    minutes_remaining: int | None
    unlimited: bool
    period_start: int
    period_end: int


class Credits(Struct, frozen=True):
    """A profile's own responses and chats, and what its account still has of them."""

    profile_id: str
    organization_id: str
    responses_used_total: int
    responses_used_this_month: int
    responses_available: int | None
    monthly_responses_quota: int | None
    chat_instances_used: int
    chat_instances_available: int | None
    chat_instances_quota: int | None
    period_start: int
    period_end: int


class Chat(Struct, frozen=True):
    """A chat of the profile's."""

    id: UUID
    title: str
    created_at: datetime
    responses: int


class NewChat(Struct, frozen=True, forbid_unknown_fields=True):
    """A chat to begin; it uses up one of the chats that the plan includes."""

    title: Annotated[str, Meta(max_length=512, pattern=r"^[^\x00]*$")] = ""


class Response(Struct, frozen=True):
    """A response in a chat: a session of its own. `total_minutes` are null until it has ended."""

    id: UUID
    chat_instance_id: UUID
    session_start: datetime
    session_end: datetime | None
    total_minutes: int | None
    completion_status: str


class ResponseChange(Struct, frozen=True, forbid_unknown_fields=True):
    """How a response has ended, which it does once; or `in_progress`: that it goes on."""

    completion_status: Annotated[str, Meta(pattern=r"^(in_progress|completed|abandoned)$")]
