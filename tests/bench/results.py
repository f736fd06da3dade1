"""What a run gave: all rounds, their medians, and whether the targets are reached."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from os import cpu_count, getloadavg
from statistics import median
from typing import Any, Protocol

from tests.bench.checks import CheckFigures
from tests.bench.flush import FlushRates
from tests.bench.history import HistoryFigures
from tests.bench.hot_account import CountRates
from tests.bench.measure import LoadPlan, ServerFigures
from tests.bench.redis_cost import IncrementCost
from tests.bench.servers import OUR_GATEWAY, STARLETTE_ECHO
from tests.bench.stops import StopFigures

FLUSH_SHARE_OF_COPY = 0.40
GATEWAY_BYTES_A_SESSION = 30_000
REDIS_BYTES_A_SESSION = 1_500
STOP_SECONDS = 2.0
QUESTION_MS = 10.0
QUESTION_GROWTH = 1.5
PACKAGES = ("uvicorn", "uvloop", "starlette", "websockets", "picows", "redis", "asyncpg")


class HasProblems(Protocol):
    """What one round of a part gave."""

    @property
    def problems(self) -> list[str]:
        """Return why it is not to be believed."""


@dataclass
class Results:
    """The rounds of a run, in the order they were measured."""

    plan: LoadPlan
    servers: dict[str, list[ServerFigures]] = field(default_factory=dict)
    increments: list[IncrementCost] = field(default_factory=list)
    flushes: list[FlushRates] = field(default_factory=list)
    stops: list[StopFigures] = field(default_factory=list)
    counts: list[CountRates] = field(default_factory=list)
    checks: list[CheckFigures] = field(default_factory=list)
    history: list[HistoryFigures] = field(default_factory=list)

    def add_server(self, name: str, figures: ServerFigures) -> None:
        """Take in one round of the server `name`."""
        self.servers.setdefault(name, []).append(figures)

    def server_median(
        self, name: str, figure: Callable[[ServerFigures], float | None]
    ) -> float | None:
        """Return the median of a figure over the server's rounds; None when it has none."""
        values = [figure(round_figures) for round_figures in self.servers.get(name, [])]
        return median_or_none([value for value in values if value is not None])

    def us_per_heartbeat(self, name: str) -> float | None:
        """Return the median CPU of a heartbeat in µs."""
        return self.server_median(name, lambda figures: figures.us_per_heartbeat)

    def ratio_to_echo(self, name: str) -> float | None:
        """Return the median, over the rounds, of the server's cost over the Starlette echo's.

        Each round's ratio is of two figures measured next to each other, which a slow drift of the
        machine does not reach.
        """
        pairs = zip(
            self.servers.get(name, []), self.servers.get(STARLETTE_ECHO.name, []), strict=False
        )
        return median_or_none([own.us_per_heartbeat / echo.us_per_heartbeat for own, echo in pairs])

    def stops_by_sessions(self) -> dict[int, list[StopFigures]]:
        """Return the rounds of stops by how many sessions an account had."""
        found: dict[int, list[StopFigures]] = {}
        for figures in self.stops:
            found.setdefault(figures.sessions_an_account, []).append(figures)
        return found

    def problems(self) -> list[str]:
        """Return why figures of this run are not to be believed."""
        parts: dict[str, Sequence[HasProblems]] = {
            **self.servers,
            **{
                f"stop at {number} sessions": rounds
                for number, rounds in self.stops_by_sessions().items()
            },
            "hot-account": self.counts,
            "check-limit": self.checks,
        }
        return [problem for name, rounds in parts.items() for problem in _problems(name, rounds)]

    def as_json(self) -> dict[str, Any]:
        """Return all that is known of the run, for a file."""
        return {
            "machine": machine_description(),
            "plan": asdict(self.plan),
            "medians": {
                name: {
                    "us_per_heartbeat": self.us_per_heartbeat(name),
                    "ratio_to_starlette_echo": self.ratio_to_echo(name),
                }
                for name in self.servers
            },
            "targets": [asdict(target) | {"reached": target.reached} for target in targets(self)],
            "problems": self.problems(),
            "rounds": {
                "servers": {
                    name: [asdict(figures) for figures in rounds]
                    for name, rounds in self.servers.items()
                },
                "pipelined_increment": [asdict(cost) for cost in self.increments],
                "flush": [asdict(rates) for rates in self.flushes],
                "stops": [asdict(figures) for figures in self.stops],
                "hot_account": [asdict(rates) for rates in self.counts],
                "check_limit": [asdict(figures) for figures in self.checks],
                "history": [asdict(figures) for figures in self.history],
            },
        }


@dataclass(frozen=True)
class Target:
    """A figure to reach. `measured` is None when the run did not measure it."""

    title: str
    measured: float | None
    limit: float
    at_least: bool
    unit: str

    @property
    def reached(self) -> bool | None:
        """Return whether the figure is on the right side of its limit."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured < self.limit


def targets(results: Results) -> list[Target]:
    """Return the targets with what the run measured for them."""
    ours = OUR_GATEWAY.name
    resident = results.server_median(ours, lambda figures: figures.bytes_per_session)
    in_redis = results.server_median(ours, lambda figures: figures.redis_bytes_per_session)
    flush_share = median_or_none([rates.share_of_copy for rates in results.flushes])
    return [
        Target(
            "CPU of a heartbeat, our gateway over the bare Starlette echo",
            results.ratio_to_echo(ours),
            1.0,
            at_least=False,
            unit="x",
        ),
        Target(
            "flushing over COPY into the same table",
            flush_share,
            FLUSH_SHARE_OF_COPY,
            at_least=True,
            unit="x",
        ),
        Target("a session in the gateway", resident, GATEWAY_BYTES_A_SESSION, False, "bytes"),
        Target("a session in Redis", in_redis, REDIS_BYTES_A_SESSION, False, "bytes"),
        Target(
            "the last stop of the largest account", _last_stop(results), STOP_SECONDS, False, "s"
        ),
        Target(
            "the slowest question of a month, at most rows",
            max(results.history[-1].p50_ms.values()) if results.history else None,
            QUESTION_MS,
            False,
            "ms",
        ),
        Target("the same over fewest rows", _growth(results), QUESTION_GROWTH, False, "x"),
    ]


def _growth(results: Results) -> float | None:
    """Return by how much the question that slowed down most did, from fewest rows to most."""
    if len(results.history) < 2:
        return None
    few, many = results.history[0].p50_ms, results.history[-1].p50_ms
    return max(many[name] / few[name] for name in few)


def _last_stop(results: Results) -> float | None:
    """Return the seconds to the last session's stop, of the largest account; a median."""
    by_sessions = results.stops_by_sessions()
    if not by_sessions:
        return None
    return median_or_none([figures.max_ms / 1000 for figures in by_sessions[max(by_sessions)]])


def _problems(name: str, rounds: Sequence[HasProblems]) -> Iterator[str]:
    for number, figures in enumerate(rounds, start=1):
        for problem in figures.problems:
            yield f"{name}, round {number}: {problem}"


def median_or_none(values: list[float]) -> float | None:
    """Return the median, or None of nothing."""
    return median(values) if values else None


def machine_description() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "platform": platform.platform(),
        "cores": cpu_count(),
        "load_average": getloadavg(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
    }
