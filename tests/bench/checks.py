"""`GET /api/usage/check-limit` against a bare Starlette JSON route: requests a second, CPU of one.

Our gateway, whole, beside `baselines/json_route.py` under the same uvicorn settings. Both run for
the whole round and are loaded in turns (ours, theirs, ours, theirs) by the same client process
(`http_load.py`): `CONNECTIONS` keep-alive connections, each with a token of an account of its own
and one request under way. The CPU of a request is that of the server's process alone; it checks
the token's signature and asks the ledger, the bare route does neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tests.bench.generator import run_generator
from tests.bench.http_load import HttpOptions, HttpTotals
from tests.bench.process import MeasuredProcess, answers_200, free_port, running
from tests.bench.servers import our_gateways
from tests.bench.stores import Stores
from tests.bench.tokens import organization_name, signed_token

CONNECTIONS = 32
TURNS = 2
PATH = "/api/usage/check-limit"
WARM_UP_SECONDS = 0.5
LOAD_CPU_LIMIT_PERCENT = 80.0
LOAD_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class HttpFigures:
    """What one server gave in a round, over all its turns. Latencies are those of its last turn."""

    requests_per_second: float
    us_per_request: float
    latency_p50_ms: float
    latency_p99_ms: float
    load_cpu_percent: float


@dataclass(frozen=True)
class CheckFigures:
    """One round."""

    ours: HttpFigures
    bare: HttpFigures
    problems: list[str] = field(default_factory=list)

    @property
    def rate_over_bare(self) -> float:
        """Return our requests a second over the bare route's."""
        return self.ours.requests_per_second / self.bare.requests_per_second

    @property
    def cpu_over_bare(self) -> float:
        """Return our CPU of a request over the bare route's."""
        return self.ours.us_per_request / self.bare.us_per_request


@dataclass(frozen=True)
class Turn:
    """What the client saw, and the server's CPU meanwhile."""

    totals: HttpTotals
    server_cpu_seconds: float


@dataclass(frozen=True)
class Asked:
    """A server, and what to ask of it."""

    process: MeasuredProcess
    options: HttpOptions

    def ask(self, seconds: float) -> Turn:
        """Load it for a while."""
        before = self.process.cpu_seconds()
        totals = run_generator(
            "tests.bench.http_load",
            replace(self.options, seconds=seconds),
            seconds + LOAD_TIMEOUT_SECONDS,
        )
        return Turn(HttpTotals(**totals), self.process.cpu_seconds() - before)


def measure_checks(stores: Stores, seconds: float) -> CheckFigures:
    """Measure one round: each server for `seconds` in all."""
    port = free_port()
    log = stores.directory / "json_route.log"
    arguments = ["-m", "tests.bench.baselines.json_route", "--port", str(port)]
    with our_gateways(stores, 1) as (gateway,), running(arguments, log) as bare_process:
        bare_process.wait_ready(lambda: answers_200(f"http://127.0.0.1:{port}/"))
        gateway_port = urlsplit(gateway.target.url).port
        assert gateway_port is not None
        tokens = tuple(
            signed_token(gateway.target.secret, organization_name(number), f"user-{number}")
            for number in range(CONNECTIONS)
        )
        ours = Asked(gateway.process, HttpOptions(gateway_port, PATH, tokens, 0))
        bare = Asked(bare_process, HttpOptions(port, "/", tokens, 0))
        for server in (ours, bare):
            server.ask(WARM_UP_SECONDS)
        turns: dict[str, list[Turn]] = {"ours": [], "bare": []}
        for _ in range(TURNS):
            turns["ours"].append(ours.ask(seconds / TURNS))
            turns["bare"].append(bare.ask(seconds / TURNS))
    problems = [problem for name, each in turns.items() for problem in _problems(name, each)]
    return CheckFigures(_figures(turns["ours"]), _figures(turns["bare"]), problems)


def _figures(turns: list[Turn]) -> HttpFigures:
    requests = sum(turn.totals.requests for turn in turns)
    seconds = sum(turn.totals.seconds for turn in turns)
    return HttpFigures(
        requests_per_second=requests / seconds,
        us_per_request=sum(turn.server_cpu_seconds for turn in turns) * 1e6 / requests,
        latency_p50_ms=turns[-1].totals.latency_p50 * 1000,
        latency_p99_ms=turns[-1].totals.latency_p99 * 1000,
        load_cpu_percent=sum(turn.totals.cpu_seconds for turn in turns) * 100 / seconds,
    )


def _problems(name: str, turns: list[Turn]) -> Iterator[str]:
    """Say whether an answer was no answer, or the client the bottleneck."""
    if failures := sum(turn.totals.failures for turn in turns):
        yield f"{name}: {failures} requests failed"
    if (percent := _figures(turns).load_cpu_percent) > LOAD_CPU_LIMIT_PERCENT:
        yield f"{name}: the client used {percent:.0f} % of a core"
