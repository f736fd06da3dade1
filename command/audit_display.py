"""What `meter audit` prints."""

import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from command.limits_display import harmless
from persistence.audit import Report
from persistence.drift import USES

MOST_SHOWN = 50


def show_report(report: Report, *, as_json: bool) -> None:
    """Print it to stdout."""
    total = sum(abs(drift.seconds) for drift in report.drifts)
    uses = sum(abs(drift.off) for drift in report.drifts if drift.figure == USES)
    if as_json:
        drifts = [{**asdict(drift), "seconds": drift.seconds} for drift in report.drifts]
        document = {
            "drift_seconds": total,
            "drift_uses": uses,
            "drifts": drifts,
            "ledger_accounts": report.accounts,
            "set_aside_sessions": report.set_aside.sessions,
            "set_aside_seconds": report.set_aside.seconds,
            "repaired": report.repaired,
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    console = Console()
    if report.drifts:
        console.print(_table(report))
    style = "red" if report.drifts and not report.repaired else "green"
    of_uses = f" and {uses:,} uses" if uses else ""
    console.print(f"[{style}]drift: {total:,} s{of_uses}[/] in {len(report.drifts):,} figures")
    console.print(f"[dim]{report.accounts:,} accounts in Redis compared[/]")
    aside = report.set_aside
    if aside.sessions:
        console.print(f"[yellow]set aside: {aside.seconds:,} s[/], counted and in no row")
        console.print(f"[dim]sessions that Postgres refuses: {aside.sessions:,}[/]")
    if report.repaired:
        console.print(f"{report.repaired:,} figures made anew from the rows")


def _table(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("figure", "org", "user", "where"):
        table.add_column(heading)
    for heading in ("kept", "rows say", "drift"):
        table.add_column(heading, justify="right")
    for drift in report.drifts[:MOST_SHOWN]:
        table.add_row(
            drift.figure,
            Text(harmless(drift.organization_id)),
            Text(harmless(drift.user_id or "")),
            drift.place,
            f"{drift.kept:,}",
            f"{drift.counted:,}",
            f"{drift.off:+,}",
        )
    return table
