"""The command line of the chaos run; what it does is in the package's docstring."""

import asyncio
import json
import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tests.faults.faults import FAULTS, Fault
from tests.faults.run import Options, Outcome, Progress, Run

RESULTS_FILE = Path(".chaos/results.json")
# A run that has no time for the long faults leaves them out.
LONG_MINUTES = 5


def chaos(
    minutes: Annotated[float, typer.Option(help="How long faults are injected.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Chooses faults and recorders; random.")] = None,
    recorders: Annotated[int, typer.Option(help="Recorders at a time.")] = 200,
    accounts: Annotated[int, typer.Option(help="Organizations.")] = 36,
    gateways: Annotated[int, typer.Option(help="Gateways' processes.")] = 2,
    only: Annotated[str, typer.Option(help="Kinds of fault, by comma; parts of names do.")] = "",
    json_path: Annotated[Path, typer.Option("--json", help="Where the JSON goes.")] = RESULTS_FILE,
    keep: Annotated[Path | None, typer.Option(help="Keep logs in this folder.")] = None,
) -> None:
    """Break everything, and compare every second; fail when one is lost, or billed twice."""
    seed = random.randrange(1_000_000) if seed is None else seed
    options = Options(
        seconds=minutes * 60,
        seed=seed,
        recorders=recorders,
        accounts=accounts,
        gateways=gateways,
        faults=chosen(only, minutes),
    )
    logging.getLogger("minute_meter").setLevel(logging.ERROR)  # it has much to complain of
    console = Console()
    with tempfile.TemporaryDirectory(prefix="meter-chaos-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o711)  # the user that Postgres runs as enters it
        run = Run(options, directory)
        try:
            outcome = asyncio.run(_with_display(run, console))
        finally:
            if keep is not None:
                shutil.copytree(directory / "logs", keep, dirs_exist_ok=True)
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(as_json(outcome), indent=2) + "\n")
    print_outcome(console, outcome)
    console.print(f"all of it: {json_path}")
    if not outcome.good:
        raise typer.Exit(1)


def chosen(only: str, minutes: float) -> tuple[Fault, ...]:
    """The kinds of fault to inject. Raises `BadParameter` when none is meant."""
    parts = [part.strip() for part in only.split(",") if part.strip()]
    if not parts:
        return tuple(fault for fault in FAULTS if minutes >= LONG_MINUTES or not fault.long)
    faults = tuple(fault for fault in FAULTS if any(part in fault.name for part in parts))
    if not faults:
        names = ", ".join(fault.name for fault in FAULTS)
        raise typer.BadParameter(f"no fault is called so; there are: {names}")
    return faults


async def _with_display(run: Run, console: Console) -> Outcome:
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        task = asyncio.create_task(run.run())
        while not task.done():
            live.update(progress_of(run.progress, run.options))
            await asyncio.wait({task}, timeout=0.5)
        return task.result()


def progress_of(progress: Progress, options: Options) -> Group:
    """The display of a run under way."""
    done, whole = progress.elapsed_seconds, options.seconds
    return Group(
        Text(f"seed {options.seed}   {progress.phase}   {done:.0f} s, faults for {whole:.0f} s"),
        Text(
            f"{progress.sessions} sessions, {progress.live} live, {progress.recorded} s recorded, "
            f"{progress.done.total()} faults done"
        ),
        Text("now: " + (", ".join(progress.active) or "nothing")),
    )


def print_outcome(console: Console, outcome: Outcome) -> None:
    """The final table, and what was found."""
    verdict = outcome.verdict
    faults = Table("fault", "times", title=f"seed {outcome.options.seed}")
    for name, times in sorted(outcome.faults.items()):
        faults.add_row(name, str(times))
    console.print(faults)
    seconds = Table("seconds", "")
    seconds.add_row("recorded and sent", str(verdict.recorded))
    seconds.add_row("counted", str(verdict.counted))
    for reason, refused in sorted(verdict.refused.items()):
        seconds.add_row(f"not counted: {reason}", str(refused))
    seconds.add_row("over a limit", str(verdict.over_limit))
    seconds.add_row("lost", str(verdict.lost))
    seconds.add_row("twice", str(verdict.twice))
    console.print(seconds)
    ends = ", ".join(f"{reason} {count}" for reason, count in outcome.ends.most_common())
    console.print(
        f"{verdict.sessions} sessions ({ends}), {outcome.reconnects} reconnects, "
        f"{outcome.new_origins} begun anew"
    )
    for finding in verdict.findings[:40]:
        console.print(f"[red]wrong:[/] {finding}", highlight=False)
    if outcome.good:
        console.print("[green]nothing lost, nothing twice[/]")


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All of an outcome."""
    options, verdict = outcome.options, outcome.verdict
    return {
        "seed": options.seed,
        "minutes": options.seconds / 60,
        "recorders": options.recorders,
        "accounts": options.accounts,
        "gateways": options.gateways,
        "flushers": options.flushers,
        "faults": dict(sorted(outcome.faults.items())),
        "sessions": verdict.sessions,
        "ends": dict(outcome.ends),
        "reconnects": outcome.reconnects,
        "begun_anew": outcome.new_origins,
        "seconds": {
            "recorded": verdict.recorded,
            "counted": verdict.counted,
            "not_counted": dict(sorted(verdict.refused.items())),
            "over_a_limit": verdict.over_limit,
            "lost": verdict.lost,
            "twice": verdict.twice,
        },
        "findings": verdict.findings,
        "log": outcome.log,
    }


if __name__ == "__main__":
    typer.run(chaos)
