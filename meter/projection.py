"""Where a period will end, used on as until now. Pure."""

from collections.abc import Sequence

from meter.account_messages import Projection
from meter.billing import used_minutes
from meter.limits import UNLIMITED
from meter.periods import Period, date_of

DAY_SECONDS = 86_400
# When to recommend something.
WARN_SECONDS = 600
SMALL_PERCENT = 30
ENOUGH_DAYS = 10


def project(
    period: Period, used_seconds: int, limit_seconds: int | None, now: float, zone: str
) -> Projection:
    """From the used seconds of the part of the period that has passed, the running day in part. A
    credit, which is below zero, ends as nothing used: never as less.

    `zone` is the account's: its days are meant where a day is told."""
    length = period.end - period.start
    elapsed = min(max(now - period.start, 1.0), float(length))
    left = length - elapsed
    a_second = max(used_seconds, 0) / elapsed  # what was given back may be more than was used
    projected = max(used_seconds, 0) + round(a_second * left)
    percentage, reached_on = None, None
    if limit_seconds is not None:
        percentage = 1000 * projected // limit_seconds / 10 if limit_seconds else 100.0
        room = limit_seconds - used_seconds
        if room <= 0:
            reached_on = date_of(int(period.start + elapsed), zone)
        elif a_second * left >= room:
            at = period.start + elapsed + room / a_second
            reached_on = date_of(min(int(at), period.end - 1), zone)
    return Projection(
        days_elapsed=round(elapsed / DAY_SECONDS, 2),
        days_in_period=round(length / DAY_SECONDS, 2),
        daily_average_minutes=round(a_second * DAY_SECONDS / 60, 2),
        projected_seconds=projected,
        projected_minutes=used_minutes(projected),
        projected_percentage=percentage,
        will_exceed_limit=limit_seconds is not None and projected > limit_seconds,
        limit_reached_on=reached_on,
    )


def recommend(
    limit_seconds: int | None,
    remaining_seconds: int | None,
    projection: Projection,
    other_plans: Sequence[int],
) -> list[tuple[str, str]]:
    """What a user might do, as code and text; the most pressing first.

    `other_plans` are the monthly minutes (-1: unlimited) of the plans that the account might have
    instead; none where no plan is what limits it."""
    if limit_seconds is None or remaining_seconds is None:
        return []
    has_larger = any(each == UNLIMITED or each * 60 > limit_seconds for each in other_plans)
    if remaining_seconds == 0:
        more = ": a larger plan has more." if has_larger else "."
        return [("limit_reached", "No minutes are left this month" + more)]
    found = []
    if remaining_seconds < WARN_SECONDS:
        found.append(("near_limit", "Less than 10 minutes are left this month."))
    if projection.will_exceed_limit:
        when = f"At this rate the limit is reached on {projection.limit_reached_on}"
        if has_larger:
            found.append(("upgrade", f"{when}: a larger plan would last the month."))
        else:
            found.append(("slow_down", f"{when}."))
    if _is_too_large(limit_seconds, projection, other_plans):
        found.append(
            (
                "downgrade",
                f"At this rate less than {SMALL_PERCENT} % of the limit is used:"
                " a smaller plan would do.",
            )
        )
    return found


def _is_too_large(limit_seconds: int, projection: Projection, other_plans: Sequence[int]) -> bool:
    """Whether little of the limit is used, and a smaller plan has as much."""
    projected = projection.projected_seconds
    if projection.days_elapsed < ENOUGH_DAYS or 100 * projected >= SMALL_PERCENT * limit_seconds:
        return False
    return any(projected <= each * 60 < limit_seconds for each in other_plans if each >= 0)
