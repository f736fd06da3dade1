"""An account's standing as its users see it: which limit binds, and what remains. Pure.

Limits are compared with all that was used. What people are shown is apart: seconds used of the
limit, and past it, where a plan bills them, seconds of overage.
"""

from meter.ledger.types import UNLIMITED, Standing
from meter.messages import Usage, Warning
from meter.thresholds import Told, next_mark, tell


def is_exhausted(standing: Standing) -> bool:
    """Whether no second more would count: a member's limit is reached, or the organization's and
    all the overage of its plan. (A grace that counts begins after this.) For each reply."""
    if standing.member_used >= standing.member_limit >= 0:
        return True
    limit, overage = standing.limit, standing.terms.overage_seconds
    return limit >= 0 and overage >= 0 and standing.used >= limit + overage


def is_limited(standing: Standing) -> bool:
    """Whether there is a limit at all. For each reply, too."""
    return standing.limit != UNLIMITED or standing.member_limit != UNLIMITED


def usage_of(standing: Standing) -> Usage:
    """The figures of the limit that binds: the one with less room, or the organization's. Overage
    is the organization's in any case."""
    used, limit, scope = _binding(standing)
    unlimited = limit == UNLIMITED
    overage = overage_of(standing)
    return Usage(
        used_seconds=used - (overage if scope == "organization" else 0),
        limit_seconds=None if unlimited else limit,
        remaining_seconds=None if unlimited else max(limit - used, 0),
        unlimited=unlimited,
        period_start=standing.period.start,
        period_end=standing.period.end,
        scope=scope,
        overage_seconds=overage,
    )


def overage_of(standing: Standing) -> int:
    """Seconds past the organization's limit that its plan bills."""
    if standing.limit == UNLIMITED or not standing.terms.bills_past_limit:
        return 0
    return max(standing.used - standing.limit, 0)


def warning_of(standing: Standing, told: Told) -> tuple[Warning | None, Told]:
    """What to warn of as an account stands, if of anything, and what has been told then."""
    used, limit, _ = _binding(standing)
    threshold, told = tell(told, standing.period, used, limit, standing.terms.thresholds)
    if threshold is None:
        return None, told
    return Warning(threshold.kind.value, threshold.value, usage_of(standing)), told


def next_warning_at(standing: Standing) -> float:
    """Seconds used by the organization below which, as its limits are, no threshold is passed that
    isn't passed now; 0 where a member's limit may bind, and so a member's seconds count."""
    if standing.member_limit != UNLIMITED or standing.limit == UNLIMITED:
        return 0.0
    return next_mark(standing.used, standing.limit, standing.terms.thresholds)


def _binding(standing: Standing) -> tuple[int, int, str]:
    """Used, limit and scope of the limit that binds. In overage that is what ends it."""
    used, limit = standing.used, standing.limit
    member_used, member_limit = standing.member_used, standing.member_limit
    if member_limit == UNLIMITED:
        return used, limit, "organization"
    left = limit - used
    if limit == UNLIMITED or (left <= 0 and standing.terms.overage_seconds == UNLIMITED):
        return member_used, member_limit, "member"
    if left <= 0:
        left += standing.terms.overage_seconds
    if member_limit - member_used < left:
        return member_used, member_limit, "member"
    return used, limit, "organization"
