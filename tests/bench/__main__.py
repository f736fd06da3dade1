"""The command line of the bench; what it measures, and how, is in the package's docstring."""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.checks import measure_checks
from tests.bench.flush import measure_flush
from tests.bench.generator import LoadError
from tests.bench.history import measure_history
from tests.bench.hot_account import measure_counts
from tests.bench.measure import LoadPlan, measure_server
from tests.bench.process import ServerFailed
from tests.bench.redis_cost import pipelined_increment_cost
from tests.bench.results import Results, targets
from tests.bench.servers import SERVERS, ServerUnderTest
from tests.bench.stops import measure_stops
from tests.bench.stores import Stores
from tests.bench.table import print_results

RESULTS_FILE = Path(".bench/results.json")
TABLE_WIDTH = 125
PIPELINED_INCREMENT = "pipelined-incr"
FLUSH = "flush"
STOP = "stop"
HOT_ACCOUNT = "hot-account"
CHECK_LIMIT = "check-limit"
HISTORY = "history"
OTHER_ROWS = (PIPELINED_INCREMENT, FLUSH, STOP, HOT_ACCOUNT, CHECK_LIMIT, HISTORY)
ALL_ROWS = (*(server.name for server in SERVERS), *OTHER_ROWS)


@dataclass(frozen=True)
class Sizes:
    """How much the parts do that are no server under heartbeats."""

    flush_rows: int
    stop_sessions: tuple[int, ...]
    stop_gateways: int
    stop_rounds: int
    check_seconds: float
    history_rows: tuple[int, ...]


def bench(
    sessions: Annotated[int, typer.Option(help="Sessions, a heartbeat a second each.")] = 2000,
    seconds: Annotated[float, typer.Option(help="Measured seconds a server and round.")] = 15.0,
    warm_up_seconds: Annotated[float, typer.Option(help="Load before the measure begins.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; figures are medians.")] = 3,
    load_processes: Annotated[int, typer.Option(help="Processes of the generator.")] = 1,
    flush_rows: Annotated[int, typer.Option(help="Rows a flush round writes.")] = 100_000,
    stop_sessions: Annotated[
        str, typer.Option(help="Sessions of an account that is stopped, by comma.")
    ] = "1,100,5000",
    stop_gateways: Annotated[int, typer.Option(help="Gateways that they are spread over.")] = 1,
    stop_rounds: Annotated[int, typer.Option(help="How many of the rounds measure stops.")] = 1,
    check_seconds: Annotated[
        float, typer.Option(help="Seconds of check-limit and of its baseline, a round.")
    ] = 4.0,
    history_rows: Annotated[
        str, typer.Option(help="Rows that a month is asked for among, by comma; once.")
    ] = "1000000,20000000",
    only: Annotated[str, typer.Option(help=f"Rows, by comma: {', '.join(ALL_ROWS)}.")] = "",
    json_path: Annotated[Path, typer.Option("--json", help="Where the JSON goes.")] = RESULTS_FILE,
    check: Annotated[bool, typer.Option(help="Fail, too, when a target is missed.")] = False,
) -> None:
    """Measure a heartbeat's cost; fail when the measurement itself was not sound."""
    chosen = chosen_rows(only)
    sizes = Sizes(
        flush_rows,
        whole_numbers(stop_sessions),
        stop_gateways,
        stop_rounds,
        check_seconds,
        whole_numbers(history_rows),
    )
    plan = LoadPlan(sessions, seconds, warm_up_seconds, load_processes)
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    results = Results(plan)
    try:
        with tempfile.TemporaryDirectory(prefix="meter-bench-") as directory:
            # Postgres, which runs as nobody when we are root, reaches its data here.
            Path(directory).chmod(0o711)
            run_rounds(console, results, Path(directory), chosen, rounds, sizes)
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


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return numbers by comma, each at least 1."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"whole numbers by comma, from 1 up: {text!r}")
    return tuple(map(int, parts))


def run_rounds(
    console: Console,
    results: Results,
    directory: Path,
    chosen: set[str],
    rounds: int,
    sizes: Sizes,
) -> None:
    """Measure all chosen rows once a round, in the same order, showing progress."""
    with Stores(directory) as stores, _progress(console) as progress:
        steps = [
            (f"round {number}: {title}", measure)
            for number in range(1, rounds + 1)
            for name, title, measure in _steps(results, stores, sizes)
            if name in chosen and number <= _rounds_of(name, rounds, sizes)
        ]
        task = progress.add_task("", total=len(steps))
        for description, measure in steps:
            progress.update(task, description=description)
            measure()
            progress.advance(task)


def _rounds_of(name: str, rounds: int, sizes: Sizes) -> int:
    """Return in how many of the rounds a part is measured."""
    return {STOP: sizes.stop_rounds, HISTORY: 1}.get(name, rounds)


def _steps(
    results: Results, stores: Stores, sizes: Sizes
) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield the parts of a round: name, title, and what measures it."""

    def flush() -> None:
        results.flushes.append(measure_flush(stores.database_url(), sizes.flush_rows))

    def stop() -> None:
        results.stops += measure_stops(stores, sizes.stop_sessions, sizes.stop_gateways)

    def count() -> None:
        results.counts.append(measure_counts(stores, results.plan.sessions))

    def check() -> None:
        results.checks.append(measure_checks(stores, sizes.check_seconds))

    def ask() -> None:
        results.history += measure_history(stores.database_url(), sizes.history_rows)

    for server in SERVERS:
        yield server.name, server.title, partial(_measure_server, results, server, stores)
    yield PIPELINED_INCREMENT, "pipelined INCR", partial(_measure_increments, results, stores)
    yield FLUSH, "flush and COPY", flush
    yield STOP, "stops", stop
    yield HOT_ACCOUNT, "one hot account and many", count
    yield CHECK_LIMIT, "check-limit and a bare route", check
    yield HISTORY, "questions of a month among many rows", ask


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
