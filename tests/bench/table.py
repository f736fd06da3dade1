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
    if results.stops:
        console.print(_stops_table(results))
    if results.counts:
        console.print(_counts_table(results))
    if results.checks:
        console.print(_checks_table(results))
    if results.history:
        console.print(_history_table(results))
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


def _stops_table(results: Results) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        title="From the last counted second to `stop`, ms",
        caption="Over all sessions; one in five is paused (those once more, on the right)",
    )
    for heading in (
        "sessions of\nan account",
        "accounts",
        "gateways",
        "p50",
        "p99",
        "max",
        "paused\np50",
        "paused\nmax",
    ):
        table.add_column(heading, justify="right")
    for sessions, rounds in results.stops_by_sessions().items():
        table.add_row(
            f"{sessions:,}",
            str(rounds[0].accounts),
            str(rounds[0].gateways),
            _spread([each.p50_ms for each in rounds], 0),
            _spread([each.p99_ms for each in rounds], 0),
            _spread([each.max_ms for each in rounds], 0),
            _number(_median_of_known([each.paused_p50_ms for each in rounds]), 0),
            _number(_median_of_known([each.paused_max_ms for each in rounds]), 0),
        )
    return table


def _counts_table(results: Results) -> Table:
    rounds = results.counts
    table = Table(
        box=SIMPLE_HEAD, title=f"Counting in full batches of {rounds[0].batch:,} sessions"
    )
    for heading in ("of", "heartbeats a second", "Redis µs a heartbeat"):
        table.add_column(heading, justify="left" if heading == "of" else "right")
    table.add_row(
        "one hot account",
        _spread([each.hot_per_second for each in rounds], 0),
        _spread([each.hot_redis_us for each in rounds]),
    )
    table.add_row(
        "an account a session",
        _spread([each.many_per_second for each in rounds], 0),
        _spread([each.many_redis_us for each in rounds]),
    )
    table.add_row("hot over many", _spread([each.hot_over_many for each in rounds], 2), "")
    return table


def _checks_table(results: Results) -> Table:
    rounds = results.checks
    table = Table(box=SIMPLE_HEAD, title="GET /api/usage/check-limit")
    table.add_column("what")
    for heading in ("requests a second", "server CPU µs", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for title, served in (
        ("our gateway", [each.ours for each in rounds]),
        ("bare Starlette JSON route", [each.bare for each in rounds]),
    ):
        table.add_row(
            title,
            _spread([each.requests_per_second for each in served], 0),
            _spread([each.us_per_request for each in served]),
            _spread([each.latency_p50_ms for each in served]),
            _spread([each.latency_p99_ms for each in served]),
        )
    table.add_row(
        "ours over bare",
        _spread([each.rate_over_bare for each in rounds], 2),
        _spread([each.cpu_over_bare for each in rounds], 2),
    )
    return table


def _history_table(results: Results) -> Table:
    table = Table(box=SIMPLE_HEAD, title="Questions of a month, ms (p50, p99)")
    table.add_column("question")
    for each in results.history:
        table.add_column(f"{each.rows:,} rows", justify="right")
    for name in results.history[0].p50_ms:
        cells = [f"{each.p50_ms[name]:.2f}, {each.p99_ms[name]:.2f}" for each in results.history]
        table.add_row(name, *cells)
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
