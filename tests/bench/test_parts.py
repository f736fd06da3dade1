"""The parts of the bench, small: they run, and what they measured is sound."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.bench.__main__ import bench
from tests.bench.stop_load import beating_sessions, is_paused
from tests.bench.stops import percentile

# Of the machine that tests run on, and not of what is measured.
MACHINE_PROBLEMS = ("ms late", "of a core")


def is_the_machines(problem: str) -> bool:
    """Say whether only a slow machine is to blame."""
    return any(part in problem for part in MACHINE_PROBLEMS)


def run_bench(directory: Path, *arguments: str) -> dict[str, Any]:
    """Run the bench's command; its JSON."""
    program = typer.Typer()
    program.command()(bench)
    path = directory / "results.json"
    done = CliRunner().invoke(program, [*arguments, "--json", str(path)])
    assert path.exists(), done.output
    results: dict[str, Any] = json.loads(path.read_text())
    return results


@pytest.mark.integration
def test_stops_a_hot_account_and_check_limit_are_measured_in_one_run(tmp_path: Path) -> None:
    results = run_bench(
        tmp_path,
        "--only=stop,hot-account,check-limit",
        "--rounds=1",
        "--sessions=20",
        "--stop-sessions=10",
        "--stop-gateways=2",
        "--check-seconds=0.4",
    )
    assert [each for each in results["problems"] if not is_the_machines(each)] == []
    rounds = results["rounds"]
    (stops,) = rounds["stops"]
    assert (stops["sessions_an_account"], stops["accounts"], stops["gateways"]) == (10, 20, 2)
    assert 0 < stops["p50_ms"] <= stops["p99_ms"] <= stops["max_ms"]
    assert 0 < stops["paused_p50_ms"] <= stops["paused_max_ms"] <= stops["max_ms"]
    (counts,) = rounds["hot_account"]
    assert counts["batch"] == 20
    assert min(counts["hot_per_second"], counts["many_per_second"]) > 0
    (checks,) = rounds["check_limit"]
    assert min(checks[name]["requests_per_second"] for name in ("ours", "bare")) > 0
    assert min(checks[name]["us_per_request"] for name in ("ours", "bare")) > 0


@pytest.mark.integration
def test_questions_of_a_month_are_asked_among_few_and_many_rows(tmp_path: Path) -> None:
    results = run_bench(tmp_path, "--only=history", "--rounds=2", "--history-rows=6000,60000")
    few, many = results["rounds"]["history"]
    assert (few["rows"], many["rows"]) == (6000, 60_000)
    assert min(*few["p50_ms"].values(), *many["p50_ms"].values()) > 0


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)]
)
def test_so_many_percent_of_the_values_do_not_exceed_a_percentile(
    percent: int, expected: float
) -> None:
    assert percentile([float(value) for value in range(1, 101)], percent) == expected


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert [percentile([7.0], percent) for percent in (1, 50, 99, 100)] == [7.0] * 4


def test_one_session_in_five_is_paused_and_never_the_only_one() -> None:
    assert [is_paused(number) for number in range(5)] == [False] * 4 + [True]
    assert [beating_sessions(sessions) for sessions in (1, 5, 100)] == [1, 4, 80]
