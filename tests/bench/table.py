"""The tables that a run prints."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.measure import ServerFigures
from tests.bench.results import Results, Target, median_or_none, targets
from tests.bench.servers import SERVERS


def print_results(console: Console, results: Results) -> None:
    """Print every table of the run, then what is wrong with it."""
    if results.servers:
        console.print(_servers_table(results))
    if results.increments:
        console.print(_redis_table(results))
    if results.flushes:
        console.print(_flush_table(results))
    console.print(_targets_table(targets(results)))
    for problem in results.problems():
        console.print(f"[red]invalid:[/] {problem}")


def _servers_table(results: Results) -> Table:
    plan = results.plan
    table = Table(
        title=f"A heartbeat's cost: {plan.sessions} sessions, 1 heartbeat a second each",
        box=SIMPLE_HEAD,
        caption=f"Medians of the rounds, {plan.seconds:g} s each; least and most in brackets",
    )
    table.add_column("server")
    for heading in (
        "CPU µs a\nheartbeat",
        "times\nthe echo",
        "replies a\nheartbeat",
        "KB a\nsession",
        "Redis µs a\nheartbeat",
        "Redis B a\nsession",
        "generator\nCPU",
        "latest\nsend",
    ):
        table.add_column(heading, justify="right")
    for server in SERVERS:
        if rounds := results.servers.get(server.name):
            ratio = results.ratio_to_echo(server.name)
            table.add_row(server.title, *_server_cells(rounds, ratio))
    return table


def _server_cells(rounds: list[ServerFigures], ratio: float | None) -> list[str]:
    return [
        _spread([figures.us_per_heartbeat for figures in rounds]),
        _number(ratio, 2),
        _number(median_or_none([figures.replies_per_heartbeat for figures in rounds]), 2),
        _number(median_or_none([figures.bytes_per_session / 1000 for figures in rounds]), 1),
        _number(_median_of_known([figures.redis_us_per_heartbeat for figures in rounds]), 1),
        _number(_median_of_known([figures.redis_bytes_per_session for figures in rounds]), 0),
        _number(median_or_none([figures.load_cpu_percent for figures in rounds]), 0) + " %",
        _number(max(figures.load_late_max_ms for figures in rounds), 0) + " ms",
    ]


def _redis_table(results: Results) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        title="Redis CPU, µs a heartbeat or INCR",
        caption="At the same rate of either",
    )
    table.add_column("what")
    table.add_column("µs", justify="right")
    for server in SERVERS:
        costs = [figures.redis_us_per_heartbeat for figures in results.servers.get(server.name, [])]
        if (known := [cost for cost in costs if cost is not None]) != []:
            table.add_row(server.title, _spread(known))
    table.add_row(
        "a pipelined INCR", _spread([cost.us_per_increment for cost in results.increments])
    )
    idle = [cost.idle_us_per_second / results.plan.sessions for cost in results.increments]
    table.add_row("of each: the idle server's timers", _spread(idle))
    return table


def _flush_table(results: Results) -> Table:
    rows = results.flushes[0].rows
    table = Table(box=SIMPLE_HEAD, title=f"Flushing {rows:,} minutes, rows a second")
    table.add_column("what")
    table.add_column("rows a second", justify="right")
    flushed = [rates.flushed_rows_per_second for rates in results.flushes]
    plain = [rates.plain_copied_rows_per_second for rates in results.flushes]
    merged = [rates.merged_rows_per_second for rates in results.flushes]
    table.add_row("flushed, new rows", _spread(flushed, 0))
    table.add_row("flushed again with other seconds", _spread(merged, 0))
    copied = [rates.copied_rows_per_second for rates in results.flushes]
    table.add_row("COPY into the same table", _spread(copied, 0))
    table.add_row("COPY into a table without triggers", _spread(plain, 0))
    shares = [rates.share_of_plain_copy for rates in results.flushes]
    table.add_row("flushed, over COPY without triggers", _spread(shares, 2))
    return table


def _targets_table(all_targets: list[Target]) -> Table:
    table = Table(title="Targets", box=SIMPLE_HEAD)
    for heading in ("target", "to reach", "measured", ""):
        table.add_column(heading)
    verdicts = {True: "[green]reached[/]", False: "[red]missed[/]", None: "not measured"}
    for target in all_targets:
        digits = 0 if target.unit == "bytes" else 2
        sign = "at least" if target.at_least else "under"
        table.add_row(
            target.title,
            f"{sign} {_number(target.limit, digits)} {target.unit}",
            _number(target.measured, digits),
            verdicts[target.reached],
        )
    return table


def _median_of_known(values: list[float | None]) -> float | None:
    return median_or_none([value for value in values if value is not None])


def _spread(values: list[float], digits: int = 1) -> str:
    least, most = _number(min(values), digits), _number(max(values), digits)
    return f"{_number(median_or_none(values), digits)} [dim]({least}-{most})[/]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
