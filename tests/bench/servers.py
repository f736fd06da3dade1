"""The servers of the table, each started fresh as its own process."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.generator import LoadTarget
from tests.bench.process import (
    MeasuredProcess,
    accepts_connections,
    answers_200,
    free_port,
    running,
)
from tests.bench.stores import Stores

ORIGIN = "http://127.0.0.1"


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready, and where its load goes."""

    process: MeasuredProcess
    target: LoadTarget


@dataclass(frozen=True)
class ServerUnderTest:
    """A row of the table: `start(stores)` runs the server while entered."""

    name: str
    title: str
    start: Callable[[Stores], AbstractContextManager[RunningServer]]
    uses_redis: bool = False


def _baseline(
    module: str, *options: Callable[[Stores], str], heartbeats_per_reply: int = 1
) -> Callable[[Stores], AbstractContextManager[RunningServer]]:
    @contextmanager
    def start(stores: Stores) -> Iterator[RunningServer]:
        port = free_port()
        arguments = ["-m", f"tests.bench.baselines.{module}", "--port", str(port)]
        arguments += [option(stores) for option in options]
        with running(arguments, stores.directory / f"{module}.log") as process:
            process.wait_ready(lambda: accepts_connections(port))
            url = f"ws://127.0.0.1:{port}/"
            target = LoadTarget(url, heartbeats_per_reply=heartbeats_per_reply)
            yield RunningServer(process, target)

    return start


@contextmanager
def our_gateways(stores: Stores, number: int) -> Iterator[list[RunningServer]]:
    """Run so many `meter gateway` with one `meter flusher` beside them, as the Procfile does."""
    secret = secrets.token_hex(32)
    environment = {
        "DATABASE_URL": stores.database_url(),
        "REDIS_URL": stores.redis_url(),
        "HOST": "127.0.0.1",
        "METER_JWT_SECRET": secret,
        "METER_ALLOWED_ORIGINS": ORIGIN,
        "METER_STOP_WAIT_SECONDS": "0",
    }
    with ExitStack() as stack:
        flusher = ["-m", "command.main", "flusher"]
        stack.enter_context(running(flusher, stores.directory / "flusher.log", environment))
        yield [
            stack.enter_context(_gateway(stores.directory, environment, secret))
            for _ in range(number)
        ]


@contextmanager
def _gateway(
    directory: Path, environment: Mapping[str, str], secret: str
) -> Iterator[RunningServer]:
    port = free_port()
    command = ["-m", "command.main", "gateway"]
    own = {**environment, "PORT": str(port)}
    with running(command, directory / "gateway.log", own) as process:
        process.wait_ready(lambda: answers_200(f"http://127.0.0.1:{port}/readyz"))
        url = f"ws://127.0.0.1:{port}/v1/record"
        yield RunningServer(process, LoadTarget(url, recorder=True, secret=secret, origin=ORIGIN))


@contextmanager
def _our_gateway(stores: Stores) -> Iterator[RunningServer]:
    with our_gateways(stores, 1) as (gateway,):
        yield gateway


OUR_GATEWAY = ServerUnderTest("gateway", "our gateway, whole", _our_gateway, uses_redis=True)
STARLETTE_ECHO = ServerUnderTest(
    "starlette-echo", "bare Starlette echo", _baseline("starlette_echo")
)
STARLETTE_ONE_IN_FIVE = ServerUnderTest(
    "starlette-one-in-five",
    "the same, one reply in five",
    _baseline("starlette_echo", lambda _stores: "--one-in-five", heartbeats_per_reply=5),
)
NAIVE_GATEWAY = ServerUnderTest(
    "naive-gateway",
    "naive gateway: one INCR each",
    _baseline("naive_gateway", lambda stores: f"--redis-url={stores.redis_url()}"),
    uses_redis=True,
)
PICOWS_ECHO = ServerUnderTest("picows-echo", "bare picows echo (floor)", _baseline("picows_echo"))
SERVERS = (OUR_GATEWAY, STARLETTE_ECHO, STARLETTE_ONE_IN_FIVE, NAIVE_GATEWAY, PICOWS_ECHO)
