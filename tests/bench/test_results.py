"""The bench's own arithmetic."""

import pytest

from tests.bench.measure import LoadPlan, ServerFigures
from tests.bench.results import Results, targets
from tests.bench.servers import OUR_GATEWAY, STARLETTE_ECHO

PLAN = LoadPlan(sessions=10, seconds=1, warm_up_seconds=0, load_processes=1)


def figures(us_per_heartbeat: float, problems: list[str] | None = None) -> ServerFigures:
    """Return figures of a round in which only the cost of a heartbeat matters."""
    return ServerFigures(
        us_per_heartbeat=us_per_heartbeat,
        server_cpu_percent=1,
        heartbeats=10,
        replies_per_heartbeat=1,
        load_cpu_percent=1,
        load_late_max_ms=1,
        bytes_per_session=20_000,
        resident_bytes=90_000_000,
        redis_us_per_heartbeat=None,
        redis_bytes_per_session=None,
        problems=problems or [],
    )


@pytest.fixture
def results() -> Results:
    """Return three rounds, the second on a machine that was twice as slow."""
    results = Results(PLAN)
    for ours, echo in ((30, 60), (80, 120), (33, 60)):
        results.add_server(OUR_GATEWAY.name, figures(ours))
        results.add_server(STARLETTE_ECHO.name, figures(echo))
    return results


def test_a_figure_is_the_median_of_its_rounds(results: Results) -> None:
    assert results.us_per_heartbeat(OUR_GATEWAY.name) == 33


def test_a_ratio_is_taken_within_each_round(results: Results) -> None:
    assert results.ratio_to_echo(OUR_GATEWAY.name) == pytest.approx(0.55)


def test_a_target_that_was_not_measured_is_neither_reached_nor_missed(results: Results) -> None:
    reached = [target.reached for target in targets(results)]
    assert reached == [True, None, True, None, None, None, None]


def test_a_problem_names_its_server_and_round(results: Results) -> None:
    results.add_server(STARLETTE_ECHO.name, figures(60, ["2 sessions were disconnected"]))
    assert results.problems() == ["starlette-echo, round 4: 2 sessions were disconnected"]
