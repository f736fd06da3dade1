"""What `meter simulate` shows: bars on a terminal while it runs, and the sums at the end."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from uuid import UUID

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from command.errors import CommandError
from command.simulation import Outcome, Plan, Quantiles, Simulation
from meter.ledger.types import StorageUnavailable
from persistence.reports import recorded_seconds

REFRESH_SECONDS = 0.5
ROWS = ("sent", "counted", "durable")


def run_shown(plan: Plan, database_url: str | None) -> Outcome:
    """Run a simulation with its progress on stderr. Raises CommandError when there is no answer."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_run_shown(plan, database_url))
        except* StorageUnavailable as errors:
            raise CommandError(f"the database doesn't answer: {errors.exceptions[0]}") from errors


async def _run_shown(plan: Plan, database_url: str | None) -> Outcome:
    async def read_durable(sessions: Sequence[UUID]) -> int:
        assert database_url is not None
        return await recorded_seconds(database_url, sessions)

    simulation = Simulation(plan, read_durable if database_url else None)
    with suppress(NotImplementedError):  # on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, simulation.finish.set)
    display = asyncio.create_task(_display(simulation))
    try:
        return await simulation.run()
    finally:
        display.cancel()
        await asyncio.wait({display})


async def _display(simulation: Simulation) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    plan = simulation.plan
    whole = max(round(plan.sessions * plan.seconds), 1)
    bars = Progress(
        TextColumn("{task.description:8}"),
        BarColumn(40),
        TextColumn("{task.completed:>9,.0f} / {task.total:,.0f} s"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bars:
        rows = {name: bars.add_task(name, total=whole, note="") for name in ROWS}
        while True:
            _update(bars, rows, simulation)
            await asyncio.sleep(REFRESH_SECONDS)


def _update(bars: Progress, rows: dict[str, TaskID], simulation: Simulation) -> None:
    now = simulation.progress()
    notes = {
        "sent": f"{now.live} live, {now.ended} ended",
        "counted": f"{now.reconnects} reconnects, {now.failed} failed",
        "durable": "as acks say: a minute late",
    }
    for name, row in rows.items():
        bars.update(row, completed=getattr(now, name), note=notes[name])


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print the outcome to stdout."""
    if as_json:
        sys.stdout.write(json.dumps({**asdict(outcome), "exact": outcome.exact}) + "\n")
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _lines(outcome):
        table.add_row(name, value)
    console = Console()
    console.print(table)
    style, verdict = ("green", "exact") if outcome.exact else ("red", "NOT exact")
    wanted = "sent, counted and durable are to be the same"
    if outcome.limited:
        wanted = "counted and durable are to be the same; what was sent past the limit is refused"
    console.print(f"[{style}]{verdict}[/]: {wanted}")


def _lines(outcome: Outcome) -> list[tuple[str, str]]:
    durable = "no database to ask"
    if outcome.durable is not None:
        durable = f"{outcome.durable:,} s, {outcome.durable_after_seconds} s after the end"
    return [
        ("sessions", f"{outcome.sessions:,} ({_counts(outcome.ends)})"),
        ("sent", f"{outcome.sent:,} s"),
        ("counted", f"{outcome.counted:,} s"),
        ("durable", durable),
        ("reconnects", f"{outcome.reconnects:,}"),
        ("refusals", f"{outcome.refusals:,}"),
        ("failures", _counts(outcome.failures) or "none"),
        ("heartbeat to its ack", f"{_times(outcome.ack_latency_ms)} (acks are coalesced)"),
        ("stop to its end", _times(outcome.stop_ms)),
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))


def _times(times: Quantiles) -> str:
    if times.p50 is None:
        return "not measured"
    return f"p50 {times.p50:,.0f} ms, p99 {times.p99:,.0f} ms"
