"""What `meter limits show` prints."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from persistence.limits import LimitFigures, OrganizationLimits

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


def show_limits(limits: OrganizationLimits, *, as_json: bool) -> None:
    """Print them to stdout."""
    if as_json:
        sys.stdout.write(json.dumps(_document(limits)) + "\n")
        return
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    for heading in ("limit", "used", "remaining"):
        table.add_column(heading, justify="right")
    table.add_row(Text(limits.organization_id, "bold"), *_cells(limits.organization))
    for user_id, figures in limits.members.items():
        table.add_row(Text(f"  {user_id}"), *_cells(figures))
    console = Console()
    console.print(f"[dim]{limits.month:%B %Y}, UTC; as far as it is in Postgres[/]")
    console.print(table)


def _cells(figures: LimitFigures) -> list[Text]:
    style = ""
    if figures.limit_seconds is not None:
        if figures.remaining_seconds == 0:
            style = "red"
        elif figures.used_seconds >= NEARLY_USED * figures.limit_seconds:
            style = "yellow"
    return [
        Text(amount(figures.limit_seconds)),
        Text(amount(figures.used_seconds)),
        Text(amount(figures.remaining_seconds), style),
    ]


def _document(limits: OrganizationLimits) -> dict[str, Any]:
    return {
        "organization_id": limits.organization_id,
        "month": limits.month.isoformat(),
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
        "unlimited": figures.limit_seconds is None,
    }
