"""The servers of the table, each started fresh as its own process."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

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
def _our_gateway(stores: Stores) -> Iterator[RunningServer]:
    """Run `meter gateway` with `meter flusher` beside it, as the Procfile does."""
    port, secret = free_port(), secrets.token_hex(32)
    environment = {
        "DATABASE_URL": stores.database_url(),
        "REDIS_URL": stores.redis_url(),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "METER_JWT_SECRET": secret,
        "METER_ALLOWED_ORIGINS": ORIGIN,
    }
    command = ["-m", "command.main"]
    with (
        running([*command, "flusher"], stores.directory / "flusher.log", environment),
        running([*command, "gateway"], stores.directory / "gateway.log", environment) as process,
    ):
        process.wait_ready(lambda: answers_200(f"http://127.0.0.1:{port}/readyz"))
        url = f"ws://127.0.0.1:{port}/v1/record"
        yield RunningServer(process, LoadTarget(url, recorder=True, secret=secret, origin=ORIGIN))


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
