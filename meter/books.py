"""What HTTP needs to know of Postgres besides its rows: refusals, and writes that are made once.

Pure types; `persistence` raises and takes them, the gateway turns them into answers.
"""

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from meter.account_messages import Day


class Reason(StrEnum):
    """Why something was refused for good; `code` of the problem that tells it."""

    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    LIMIT_REACHED = "limit_reached"
    INVALID_VALUE = "invalid_value"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    IDEMPOTENCY_KEY_IN_USE = "idempotency_key_in_use"


class Refused(Exception):
    """Postgres is well, and this can't be done. `detail` is for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Claim:
    """A caller's key for a write: it is made once, however often it is asked for.

    `request_hash` is of all that was asked, so that a key can't stand for two requests."""

    organization_id: str
    user_id: str
    route: str
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered to a claim before: HTTP status and a JSON body."""

    status: int
    body: bytes


class UsageDays(Struct, frozen=True):
    """The days of an account's present period, and what was adjusted by hand in it: in all, and of
    the member who asks."""

    time_zone: str
    adjusted_seconds: int
    own_adjusted_seconds: int
    days: tuple[Day, ...]


class Offers(Struct, frozen=True):
    """What another plan would change: monthly minutes of the other plans (-1: unlimited), if a plan
    is what limits the account, and no limit of its own."""

    is_limited_by_plan: bool
    other_minutes: tuple[int, ...]


class ReportKind(StrEnum):
    """What a report has a row of, and its columns."""

    DAYS = "days"
    SESSIONS = "sessions"
    MINUTES = "minutes"
    ADJUSTMENTS = "adjustments"

    @property
    def columns(self) -> tuple[str, ...]:
        """In their order."""
        return _COLUMNS[self]


_COLUMNS = {
    ReportKind.DAYS: ("organization_id", "user_id", "day", "time_zone", "seconds", "minutes"),
    ReportKind.SESSIONS: (
        "organization_id",
        "user_id",
        "session_id",
        "kind",
        "started_at",
        "ended_at",
        "end_reason",
        "seconds",
        "minutes",
    ),
    ReportKind.MINUTES: (
        "organization_id",
        "user_id",
        "session_id",
        "minute_timestamp",
        "seconds",
    ),
    ReportKind.ADJUSTMENTS: (
        "organization_id",
        "user_id",
        "id",
        "seconds",
        "effective_at",
        "reason",
        "author",
        "created_at",
    ),
}
