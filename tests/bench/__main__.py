"""The command line of the bench; what it measures, and how, is in the package's docstring."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.flush import measure_flush
from tests.bench.generator import LoadError
from tests.bench.measure import LoadPlan, measure_server
from tests.bench.process import ServerFailed
from tests.bench.redis_cost import pipelined_increment_cost
from tests.bench.results import Results, targets
from tests.bench.servers import SERVERS, ServerUnderTest
from tests.bench.stores import Stores
from tests.bench.table import print_results

RESULTS_FILE = Path(".bench/results.json")
TABLE_WIDTH = 125
PIPELINED_INCREMENT = "pipelined-incr"
FLUSH = "flush"
ALL_ROWS = (*(server.name for server in SERVERS), PIPELINED_INCREMENT, FLUSH)


def bench(
    sessions: Annotated[int, typer.Option(help="Sessions, a heartbeat a second each.")] = 2000,
    seconds: Annotated[float, typer.Option(help="Measured seconds a server and round.")] = 15.0,
    warm_up_seconds: Annotated[float, typer.Option(help="Load before the measure begins.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; figures are medians.")] = 3,
    load_processes: Annotated[int, typer.Option(help="Processes of the generator.")] = 1,
    flush_rows: Annotated[int, typer.Option(help="Rows a flush round writes.")] = 100_000,
    only: Annotated[str, typer.Option(help=f"Rows, by comma: {', '.join(ALL_ROWS)}.")] = "",
    json_path: Annotated[Path, typer.Option("--json", help="Where the JSON goes.")] = RESULTS_FILE,
    check: Annotated[bool, typer.Option(help="Fail, too, when a target is missed.")] = False,
) -> None:
    """Measure a heartbeat's cost; fail when the measurement itself was not sound."""
    chosen = chosen_rows(only)
    plan = LoadPlan(sessions, seconds, warm_up_seconds, load_processes)
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    results = Results(plan)
    try:
        with tempfile.TemporaryDirectory(prefix="meter-bench-") as directory:
            # Postgres, which runs as nobody when we are root, reaches its data here.
            Path(directory).chmod(0o711)
            run_rounds(console, results, Path(directory), chosen, rounds, flush_rows)
    except (ServerFailed, LoadError) as error:
        console.print(f"[red]stopped:[/] {error}")
        raise typer.Exit(2) from None
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(results.as_json(), indent=2) + "\n")
    print_results(console, results)
    console.print(f"all rounds: {json_path}")
    missed = check and any(target.reached is False for target in targets(results))
    if missed or results.problems():
        raise typer.Exit(1)


def chosen_rows(only: str) -> set[str]:
    """Return the rows to measure; all of them when none is named."""
    chosen = {name.strip() for name in only.split(",") if name.strip()}
    if unknown := chosen - set(ALL_ROWS):
        raise typer.BadParameter(f"no such rows: {', '.join(sorted(unknown))}")
    return chosen or set(ALL_ROWS)


def run_rounds(
    console: Console,
    results: Results,
    directory: Path,
    chosen: set[str],
    rounds: int,
    flush_rows: int,
) -> None:
    """Measure all chosen rows once a round, in the same order, showing progress."""
    servers = [server for server in SERVERS if server.name in chosen]
    with Stores(directory) as stores, _progress(console) as progress:
        task = progress.add_task("", total=rounds * len(chosen))
        for number in range(1, rounds + 1):
            for server in servers:
                progress.update(task, description=f"round {number}: {server.title}")
                _measure_server(results, server, stores)
                progress.advance(task)
            if PIPELINED_INCREMENT in chosen:
                progress.update(task, description=f"round {number}: pipelined INCR")
                _measure_increments(results, stores)
                progress.advance(task)
            if FLUSH in chosen:
                progress.update(task, description=f"round {number}: flush and COPY")
                results.flushes.append(measure_flush(stores.database_url(), flush_rows))
                progress.advance(task)


def _measure_server(results: Results, server: ServerUnderTest, stores: Stores) -> None:
    results.add_server(server.name, measure_server(server, stores, results.plan))


def _measure_increments(results: Results, stores: Stores) -> None:
    with stores.redis() as redis:
        redis.flushall()
        cost = pipelined_increment_cost(redis, results.plan.sessions, results.plan.seconds)
        results.increments.append(cost)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
    )


if __name__ == "__main__":
    program = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    program.command()(bench)
    program()
