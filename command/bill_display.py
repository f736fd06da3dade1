"""What `meter bill` prints."""

import json
import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from command.limits_display import amount, harmless
from meter.periods import time_zone
from persistence.bills import Adjustment, Bill


def show_bill(bill: Bill, *, as_json: bool) -> None:
    """Print it to stdout."""
    if as_json:
        sys.stdout.write(json.dumps(_document(bill)) + "\n")
        return
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in _lines(bill):
        table.add_row(name, value)
    zone = time_zone(bill.time_zone)
    start, end = (
        datetime.fromtimestamp(second, zone).strftime("%-d %b %Y")
        for second in (bill.period.start, bill.period.end)
    )
    console = Console()
    console.print(f"[dim]{start} to {end}, {bill.time_zone}; as far as it is in Postgres[/]")
    console.print(table)
    if bill.adjustments:
        console.print("\n[dim]adjusted by hand[/]")
        console.print(_adjustments(bill))


def _adjustments(bill: Bill) -> Table:
    """What was adjusted, line by line: by whom and why."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("at", "of", "by", "why"):
        table.add_column(heading, overflow="fold")
    table.add_column("seconds", justify="right", no_wrap=True)
    zone = time_zone(bill.time_zone)
    for each in bill.adjustments:
        of = harmless(bill.organization_id if each.user_id is None else each.user_id)
        table.add_row(
            each.effective_at.astimezone(zone).strftime("%-d %b %Y %H:%M"),
            *(Text(words) for words in (of, harmless(each.author), harmless(each.reason))),
            f"{each.seconds:+,} s",
        )
    return table


def _lines(bill: Bill) -> list[tuple[str, str]]:
    rule = f"{bill.rule.increment} on each {bill.rule.rounding.value}"
    lines = [
        ("plan", bill.plan_id or "none"),
        ("sessions", f"{bill.sessions:,}"),
        ("recorded", f"{bill.recorded:,} s"),
        ("adjusted", f"{bill.adjusted:+,} s") if bill.adjustments else ("", ""),
        (f"billed, {rule}", f"{bill.billed / 60:,g} min"),
        ("included", amount(bill.limit)),
        ("overage", amount(bill.overage)) if bill.overage else ("", ""),
        ("", "")
        if bill.reported_minutes is None
        else ("reported to Stripe", f"{bill.reported_minutes:,} min"),
    ]
    return [line for line in lines if line[0]]


def _document(bill: Bill) -> dict[str, Any]:
    return {
        "organization_id": bill.organization_id,
        "plan_id": bill.plan_id,
        "period_start": bill.period.start,
        "period_end": bill.period.end,
        "time_zone": bill.time_zone,
        "sessions": bill.sessions,
        "recorded_seconds": bill.recorded,
        "adjusted_seconds": bill.adjusted,
        "adjustments": [_adjustment(each) for each in bill.adjustments],
        "billing_increment": str(bill.rule.increment),
        "billing_rounding": bill.rule.rounding.value,
        "billed_seconds": bill.billed,
        "billed_minutes": bill.billed / 60,
        "limit_seconds": bill.limit,
        "overage_seconds": bill.overage,
        "stripe_reported_minutes": bill.reported_minutes,
    }


def _adjustment(adjustment: Adjustment) -> dict[str, Any]:
    return {
        "user_id": adjustment.user_id,
        "seconds": adjustment.seconds,
        "effective_at": adjustment.effective_at.isoformat(),
        "reason": adjustment.reason,
        "author": adjustment.author,
        "created_at": adjustment.created_at.isoformat(),
    }
