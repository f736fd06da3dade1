"""An account's standing as its users see it: which limit binds, and what remains. Pure."""

from meter.ledger.types import UNLIMITED, Standing
from meter.messages import Usage, Warning
from meter.thresholds import DEFAULT_THRESHOLDS, Told, tell


def room(standing: Standing) -> int | None:
    """Seconds that still fit under both limits; None when neither exists."""
    left = [
        max(limit - used, 0)
        for used, limit in (
            (standing.used, standing.limit),
            (standing.member_used, standing.member_limit),
        )
        if limit != UNLIMITED
    ]
    return min(left, default=None)


def is_exhausted(standing: Standing) -> bool:
    """Whether one of the limits leaves no room. As `room(standing) == 0`, for each reply."""
    return standing.used >= standing.limit >= 0 or (
        standing.member_used >= standing.member_limit >= 0
    )


def is_limited(standing: Standing) -> bool:
    """Whether there is a limit at all. For each reply, too."""
    return standing.limit != UNLIMITED or standing.member_limit != UNLIMITED


def usage_of(standing: Standing) -> Usage:
    """The figures of the limit that binds: the one with less room, or the organization's."""
    used, limit, scope = standing.used, standing.limit, "organization"
    if standing.member_limit != UNLIMITED and (
        limit == UNLIMITED or standing.member_limit - standing.member_used < limit - used
    ):
        used, limit, scope = standing.member_used, standing.member_limit, "member"
    unlimited = limit == UNLIMITED
    return Usage(
        used_seconds=used,
        limit_seconds=None if unlimited else limit,
        remaining_seconds=None if unlimited else max(limit - used, 0),
        unlimited=unlimited,
        period_start=standing.period.start,
        period_end=standing.period.end,
        scope=scope,
    )


def warning_of(standing: Standing, told: Told) -> tuple[Warning | None, Told]:
    """What to warn of as an account stands, if of anything, and what has been told then."""
    usage = usage_of(standing)
    limit = UNLIMITED if usage.limit_seconds is None else usage.limit_seconds
    threshold, told = tell(told, standing.period, usage.used_seconds, limit, DEFAULT_THRESHOLDS)
    if threshold is None:
        return None, told
    return Warning(threshold.kind.value, threshold.value, usage), told
