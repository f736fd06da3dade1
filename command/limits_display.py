"""What `meter limits show` and `meter limits cycle` print."""

import json
import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from meter.periods import BillingCycle, Period, time_zone
from persistence.limits import LimitFigures, OrganizationLimits
from persistence.periods import AccountPeriods

NEARLY_USED = 0.9


def amount(seconds: int | None) -> str:
    """Seconds for people: `1 h 05 min`, `45 s`; None is no limit."""
    if seconds is None:
        return "unlimited"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours:,} h"] if hours else []
    if minutes:
        parts.append(f"{minutes:02} min" if hours else f"{minutes} min")
    if rest or not parts:
        parts.append(f"{rest:02} s" if parts else f"{rest} s")
    return " ".join(parts)


def harmless(name: str) -> str:
    """Names come out of tokens: whatever they hold, it is no command for a terminal."""
    return "".join([letter if letter.isprintable() else "�" for letter in name])


def show_limit_set(org: str, user: str | None, seconds: int | None, *, as_json: bool) -> None:
    """Print a limit that was set to stdout."""
    if as_json:
        document = {"organization_id": org, "user_id": user, "limit_seconds": seconds}
        sys.stdout.write(json.dumps(document) + "\n")
        return
    whose = harmless(f"{user} in {org}" if user is not None else org)
    limit = amount(seconds) if seconds is None else f"{amount(seconds)} a month"
    sys.stdout.write(f"{whose}: {limit}\n")


def show_limits(limits: OrganizationLimits, *, as_json: bool) -> None:
    """Print them to stdout."""
    if as_json:
        sys.stdout.write(json.dumps(_document(limits)) + "\n")
        return
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    for heading in ("limit", "used", "remaining"):
        table.add_column(heading, justify="right")
    table.add_row(Text(harmless(limits.organization_id), "bold"), *_cells(limits.organization))
    for user_id, figures in limits.members.items():
        table.add_row(Text(f"  {harmless(user_id)}"), *_cells(figures))
    console = Console()
    span = _span(limits.period, limits.time_zone)
    console.print(f"[dim]{span}; as far as it is in Postgres[/]")
    console.print(table)
    if limits.organization.overage_seconds:
        console.print(f"overage: {amount(limits.organization.overage_seconds)}", style="yellow")


def show_periods(periods: AccountPeriods, *, as_json: bool) -> None:
    """Print them to stdout."""
    places = (
        ("present", periods.present, periods.present_cycle),
        ("next", periods.next, periods.next_cycle),
    )
    if as_json:
        document = {
            "organization_id": periods.organization_id,
            **{name: _period(period, cycle) for name, period, cycle in places},
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for heading in (periods.organization_id, "", ""):
        table.add_column(Text(heading))
    for name, period, cycle in places:
        turns = f"turns on day {cycle.anchor_day} of each month"
        table.add_row(f"{name} period", _span(period, cycle.zone), turns)
    Console().print(table)


def _period(period: Period, cycle: BillingCycle) -> dict[str, Any]:
    return {
        "period_start": period.start,
        "period_end": period.end,
        "time_zone": cycle.zone,
        "anchor_day": cycle.anchor_day,
    }


def _span(period: Period, zone: str) -> str:
    start, end = (_moment(second, zone) for second in (period.start, period.end))
    return f"{start} to {end}, {zone}"


def _moment(second: int, zone: str) -> str:
    """A date, and the time where it isn't midnight there."""
    moment = datetime.fromtimestamp(second, time_zone(zone))
    day = f"{moment.day} {moment:%b %Y}"
    return day if (moment.hour, moment.minute) == (0, 0) else f"{day} {moment:%H:%M}"


def _cells(figures: LimitFigures) -> list[Text]:
    style = ""
    if figures.limit_seconds is not None:
        if figures.remaining_seconds == 0:
            style = "red"
        elif figures.used_seconds >= NEARLY_USED * figures.limit_seconds:
            style = "yellow"
    return [
        Text(amount(figures.limit_seconds)),
        Text(_used(figures.used_seconds)),
        Text(amount(figures.remaining_seconds), style),
    ]


def _used(seconds: int) -> str:
    """Used seconds; below zero where more was credited by hand than is used."""
    return amount(seconds) if seconds >= 0 else f"{amount(0)}, {amount(-seconds)} in credit"


def _document(limits: OrganizationLimits) -> dict[str, Any]:
    return {
        "organization_id": limits.organization_id,
        "month": limits.month.isoformat(),
        "period_start": limits.period.start,
        "period_end": limits.period.end,
        "time_zone": limits.time_zone,
        **_figures(limits.organization),
        "members": [
            {"user_id": user_id, **_figures(figures)} for user_id, figures in limits.members.items()
        ],
    }


def _figures(figures: LimitFigures) -> dict[str, Any]:
    return {
        "limit_seconds": figures.limit_seconds,
        "used_seconds": figures.used_seconds,
        "remaining_seconds": figures.remaining_seconds,
        "overage_seconds": figures.overage_seconds,
        "unlimited": figures.limit_seconds is None,
    }
