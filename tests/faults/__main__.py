"""The command line of the chaos run; what it does is in the package's docstring."""

import asyncio
import json
import logging
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tests.faults.broken import BREAKAGES, run_broken, run_until_found
from tests.faults.faults import FAULTS, Fault
from tests.faults.report import as_json, as_markdown, print_outcome
from tests.faults.run import Options, Outcome, Progress, Run
from tests.faults.short import SEED
from tests.faults.storm import Storm, StormOutcome

Result_co = TypeVar("Result_co", covariant=True)

RESULTS_FILE = Path(".chaos/results.json")
# The storm is part of long runs.
STORM_RECORDERS = 5000
STORM_MINUTES = 9


def chaos(
    minutes: Annotated[float, typer.Option(help="How long faults are injected.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Chooses faults and recorders; random.")] = None,
    recorders: Annotated[int, typer.Option(help="Recorders at a time.")] = 200,
    accounts: Annotated[int, typer.Option(help="Organizations.")] = 36,
    gateways: Annotated[int, typer.Option(help="Gateways' processes.")] = 2,
    only: Annotated[str, typer.Option(help="Kinds of fault, by comma; parts of names do.")] = "",
    json_path: Annotated[Path, typer.Option("--json", help="Where the JSON goes.")] = RESULTS_FILE,
    keep: Annotated[Path | None, typer.Option(help="Keep logs in this folder.")] = None,
    storm: Annotated[
        int | None, typer.Option(help="Recorders that all come back at once, at the end; 0: none.")
    ] = None,
    broken: Annotated[str, typer.Option(help="Break the code first, in this way.")] = "",
    until_found: Annotated[
        bool, typer.Option("--until-found", help="Short runs, until one finds something.")
    ] = False,
) -> None:
    """Break everything, and compare every second; fail when one is lost, or billed twice."""
    logging.getLogger("minute_meter").setLevel(logging.ERROR)  # it has much to complain of
    console = Console()
    if broken or until_found:
        raise typer.Exit(_search(broken, seed, console))
    seed = random.randrange(1_000_000) if seed is None else seed
    options = Options(
        seconds=minutes * 60,
        seed=seed,
        recorders=recorders,
        accounts=accounts,
        gateways=gateways,
        faults=chosen(only, minutes),
    )
    outcome = asyncio.run(_with_display(Main(options, keep), console)) if minutes else None
    if storm is None:
        storm = STORM_RECORDERS if minutes >= STORM_MINUTES else 0
    stormy = asyncio.run(_with_display(Stormy(storm, seed, keep), console)) if storm else None
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(as_json(outcome, stormy), indent=2) + "\n")
    table = json_path.with_suffix(".md")
    table.write_text(as_markdown(outcome, stormy))
    print_outcome(console, outcome, stormy)
    console.print(f"all of it: {json_path}; for the guarantees: {table}")
    if not all(each.good for each in (outcome, stormy) if each is not None):
        raise typer.Exit(1)


class Main:
    """The main part, in a folder of its own."""

    def __init__(self, options: Options, keep: Path | None) -> None:
        self.options = options
        self._keep = keep
        self._run: Run | None = None

    async def run(self) -> Outcome:
        """Do it."""
        with scratch(self._keep) as directory:
            self._run = Run(self.options, directory)
            return await self._run.run()

    def progress(self) -> RenderableType:
        """How far it is."""
        return progress_of(self._run.progress, self.options) if self._run else ""


class Stormy:
    """The storm, in a folder of its own."""

    def __init__(self, recorders: int, seed: int, keep: Path | None) -> None:
        self._recorders, self._seed, self._keep = recorders, seed, keep
        self._storm: Storm | None = None

    async def run(self) -> StormOutcome:
        """Do it."""
        with scratch(self._keep) as directory:
            self._storm = Storm(directory, self._recorders, self._seed)
            return await self._storm.run()

    def progress(self) -> RenderableType:
        """How far it is."""
        return f"storm of {self._recorders}: {self._storm.phase if self._storm else ''}"


@contextmanager
def scratch(keep: Path | None) -> Iterator[Path]:
    """A folder that the user Postgres runs as can enter; its logs stay where they are to."""
    with tempfile.TemporaryDirectory(prefix="meter-chaos-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        try:
            yield directory
        finally:
            if keep is not None:
                shutil.copytree(directory / "logs", keep, dirs_exist_ok=True)


def _search(broken: str, seed: int | None, console: Console) -> int:
    """0 when the oracle found something in short runs, on broken code or on this."""
    seed = SEED if seed is None else seed
    if not broken:
        return 0 if run_until_found(seed, console) else 1
    if broken not in BREAKAGES:
        raise typer.BadParameter(f"no way to break it; there are: {', '.join(BREAKAGES)}")
    return run_broken(broken, seed)


def chosen(only: str, minutes: float) -> tuple[Fault, ...]:
    """The kinds of fault to inject. Raises `BadParameter` when none is meant."""
    parts = [part.strip() for part in only.split(",") if part.strip()]
    if not parts:
        # A run that has no time for the long ones leaves them out.
        return tuple(fault for fault in FAULTS if minutes >= fault.minutes)
    faults = tuple(fault for fault in FAULTS if any(part in fault.name for part in parts))
    if not faults:
        names = ", ".join(fault.name for fault in FAULTS)
        raise typer.BadParameter(f"no fault is called so; there are: {names}")
    return faults


class Part(Protocol[Result_co]):
    """Of a run."""

    async def run(self) -> Result_co: ...

    def progress(self) -> RenderableType: ...


async def _with_display(part: Part[Result_co], console: Console) -> Result_co:
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        task = asyncio.create_task(part.run())
        while not task.done():
            live.update(part.progress())
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


if __name__ == "__main__":
    typer.run(chaos)
