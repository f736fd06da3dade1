"""The load generator of HTTP: a process with some keep-alive connections, each with one request
under way, one after the other.

It takes its `HttpOptions` as one JSON argument, and prints the `HttpTotals` as JSON at the end.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import orjson
import uvloop

HEADER_END = b"\r\n\r\n"
LENGTH = b"content-length: "
OK = b"HTTP/1.1 200"


@dataclass(frozen=True)
class HttpOptions:
    """Where to ask, and with which tokens: a connection for each."""

    port: int
    path: str
    tokens: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class HttpTotals:
    """What came back. Times are in seconds; the latencies are those of a request."""

    requests: int
    seconds: float
    cpu_seconds: float
    latency_p50: float
    latency_p99: float
    failures: int


class Client(asyncio.Protocol):
    """One connection, asking until `until` (monotonic)."""

    def __init__(self, options: HttpOptions, token: str, until: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.failures = 0
        self._until = until
        self._request = (
            f"GET {options.path} HTTP/1.1\r\nHost: 127.0.0.1:{options.port}\r\n"
            f"Authorization: Bearer {token}\r\nAccept: application/json\r\n\r\n"
        ).encode()
        self._received = b""
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole, and ask anew."""
        self._received += data
        if not _is_whole(self._received):
            return
        now = time.monotonic()
        self.latencies.append(now - self._asked_at)
        if not self._received.startswith(OK):
            self.failures += 1
        self._received = b""
        if now < self._until:
            self._ask()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release whoever waits; an answer that is still due never comes."""
        if time.monotonic() < self._until:
            self.failures += 1
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked_at = time.monotonic()
        self._transport.write(self._request)


def _is_whole(answer: bytes) -> bool:
    """Say whether the answer to one request is all there; it says how long its body is."""
    end = answer.find(HEADER_END)
    if end < 0:
        return False
    start = answer.index(LENGTH, 0, end) + len(LENGTH)
    length = int(answer[start : answer.index(b"\r\n", start)])
    return len(answer) >= end + len(HEADER_END) + length


async def run_http_load(options: HttpOptions) -> HttpTotals:
    """Ask for the seconds of the options."""
    loop = asyncio.get_running_loop()
    started, cpu_started = time.monotonic(), time.process_time()
    until = started + options.seconds
    clients = [Client(options, token, until) for token in options.tokens]
    for client in clients:
        await loop.create_connection(lambda made=client: made, "127.0.0.1", options.port)  # type: ignore[misc]
    await asyncio.gather(*(client.done for client in clients))
    latencies = sorted(latency for client in clients for latency in client.latencies)
    return HttpTotals(
        requests=len(latencies),
        seconds=time.monotonic() - started,
        cpu_seconds=time.process_time() - cpu_started,
        latency_p50=latencies[len(latencies) // 2],
        latency_p99=latencies[len(latencies) * 99 // 100],
        failures=sum(client.failures for client in clients),
    )


def main() -> None:
    """Take the options from one JSON argument, and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", help="HttpOptions as JSON")
    options = HttpOptions(**orjson.loads(parser.parse_args().options))
    totals = uvloop.run(run_http_load(options))
    sys.stdout.write(orjson.dumps(asdict(totals)).decode())


if __name__ == "__main__":
    main()
