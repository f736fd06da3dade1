"""Where a period will end, used on as until now. Pure."""

from meter.account_messages import Projection
from meter.billing import used_minutes
from meter.periods import Period, date_of

DAY_SECONDS = 86_400
# When to recommend something.
WARN_SECONDS = 600
SMALL_PERCENT = 30
ENOUGH_DAYS = 10


def project(
    period: Period, used_seconds: int, limit_seconds: int | None, now: float, zone: str
) -> Projection:
    """From the used seconds of the part of the period that has passed, the running day in part.

    `zone` is the account's: its days are meant where a day is told."""
    length = period.end - period.start
    elapsed = min(max(now - period.start, 1.0), float(length))
    left = length - elapsed
    a_second = max(used_seconds, 0) / elapsed  # what was given back may be more than was used
    projected = used_seconds + round(a_second * left)
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
    limit_seconds: int | None, remaining_seconds: int | None, projection: Projection
) -> list[tuple[str, str]]:
    """What a user might do, as code and text; the most pressing first."""
    if limit_seconds is None or remaining_seconds is None:
        return []
    if remaining_seconds == 0:
        return [("limit_reached", "No minutes are left this month: a larger plan has more.")]
    found = []
    if remaining_seconds < WARN_SECONDS:
        found.append(("near_limit", "Less than 10 minutes are left this month."))
    if projection.will_exceed_limit:
        found.append(
            (
                "upgrade",
                f"At this rate the limit is reached on {projection.limit_reached_on}:"
                " a larger plan would last the month.",
            )
        )
    small_part = 100 * projection.projected_seconds < SMALL_PERCENT * limit_seconds
    if small_part and projection.days_elapsed >= ENOUGH_DAYS:
        found.append(
            (
                "downgrade",
                f"At this rate less than {SMALL_PERCENT} % of the limit is used:"
                " a smaller plan would do.",
            )
        )
    return found
