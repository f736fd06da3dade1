"""An account's limits and terms, out of a row of `account_terms()`. Pure."""

import asyncpg

from meter.ledger.types import UNLIMITED
from meter.terms import DEFAULT_TERMS, Terms
from meter.thresholds import Threshold, ThresholdKind


def seconds_or_unlimited(seconds: int | None) -> int:
    """A limit as the ledger has it, out of one where null means unlimited."""
    return UNLIMITED if seconds is None else seconds


def terms_of(row: asyncpg.Record) -> Terms:
    """The terms of an account's plan; the defaults without a plan."""
    if row["plan_id"] is None:
        return DEFAULT_TERMS
    overage = seconds_or_unlimited(row["overage_ceiling_seconds"]) if row["soft_cap"] else 0
    minutes = sorted(set(row["warn_minutes_remaining"]), reverse=True)
    return Terms(
        overage_seconds=overage,
        most_sessions=seconds_or_unlimited(row["max_concurrent_sessions"]),
        longest_seconds=seconds_or_unlimited(row["max_session_seconds"]),
        grace_seconds=row["grace_seconds"],
        grace_is_overage=row["grace_is_overage"],
        thresholds=(
            *(Threshold(ThresholdKind.REMAINING_MINUTES, each) for each in minutes),
            *(
                Threshold(ThresholdKind.PERCENT, each)
                for each in sorted(set(row["warn_percent_used"]))
            ),
        ),
    )
