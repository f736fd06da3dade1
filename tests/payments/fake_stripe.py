"""A server that takes meter events as Stripe's API documents it, with faults on demand."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "sk_test_of_the_tests"
UNKNOWN_CUSTOMER = "cus_unknown"
OLDEST_SECONDS = 35 * 86_400
AHEAD_SECONDS = 300


class Fault(Enum):
    """What goes wrong with one request."""

    BUSY = "429, with Retry-After"
    BROKEN = "500, and nothing is taken"
    TAKEN_AND_BROKEN = "500, but it is taken"
    TAKEN_AND_SILENT = "taken, and never answered"
    SILENT = "never answered, and not taken"
    NONSENSE = "200, and no JSON"


@dataclass(frozen=True, slots=True)
class Taken:
    """A meter event that is billed."""

    identifier: str
    event_name: str
    customer: str
    minutes: int
    timestamp: int


class FakeStripe:
    """What it was asked, and what it took."""

    def __init__(self) -> None:
        self.url = ""
        self.faults: deque[Fault] = deque()
        self.asked: list[str] = []  # identifiers, in order
        self.problems: list[str] = []  # what a client must not do
        self.taken: dict[str, Taken] = {}
        self.retry_after_seconds = 1
        self.answer_after_seconds = 0.0
        self.most_at_once = 0
        self._keys: set[str] = set()
        self._under_way: Counter[tuple[str, str]] = Counter()

    def minutes(self, customer: str) -> int:
        """All that the customer is billed."""
        return sum(each.minutes for each in self.taken.values() if each.customer == customer)

    def forget_identifiers(self) -> None:
        """A day passes: what it took stays, and the same identifiers would be taken again."""
        self.taken = {f"{name} of yesterday": each for name, each in self.taken.items()}

    async def meter_events(self, request: Request) -> Response:
        """`POST /v1/billing/meter_events`."""
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "Invalid API Key provided")
        self._look_at(request)
        given = dict(parse_qsl((await request.body()).decode()))
        made = Taken(
            given["identifier"],
            given["event_name"],
            given["payload[stripe_customer_id]"],
            int(given["payload[value]"]),
            int(given["timestamp"]),
        )
        self.asked.append(made.identifier)
        place = made.customer, made.event_name
        self._under_way[place] += 1
        self.most_at_once = max(self.most_at_once, self._under_way.total())
        if self._under_way[place] > 1:
            self.problems.append(f"two calls at once for {place}")
        try:
            await asyncio.sleep(self.answer_after_seconds)
            fault = self.faults.popleft() if self.faults else None
            answer = self._answer(made, fault)
        finally:
            self._under_way[place] -= 1
        if fault in (Fault.SILENT, Fault.TAKEN_AND_SILENT):
            await _given_up(request)
        return answer

    def _answer(self, made: Taken, fault: Fault | None) -> Response:
        if fault is Fault.BUSY:
            headers = {"retry-after": str(self.retry_after_seconds)}
            return _error(429, "Too many requests", "rate_limit", headers=headers)
        if fault in (Fault.BROKEN, Fault.SILENT):
            return _error(500, "Something is wrong", kind="api_error")
        refusal = self._refusal(made)
        if refusal is not None:
            return refusal
        self.taken[made.identifier] = made
        if fault is Fault.TAKEN_AND_BROKEN:
            return _error(500, "Something is wrong", kind="api_error")
        if fault is Fault.NONSENSE:
            return Response("<html>", media_type="text/html")
        return JSONResponse({"object": "billing.meter_event", "identifier": made.identifier})

    def _refusal(self, made: Taken) -> Response | None:
        if made.identifier in self.taken:
            return _error(400, f"An event already exists with identifier {made.identifier}.")
        if made.customer == UNKNOWN_CUSTOMER:
            return _error(400, f"No such customer: '{made.customer}'", "resource_missing")
        now = time.time()
        if not now - OLDEST_SECONDS <= made.timestamp <= now + AHEAD_SECONDS:
            return _error(400, "The timestamp is out of bounds", "timestamp_out_of_bounds")
        return None

    def _look_at(self, request: Request) -> None:
        key = request.headers.get("idempotency-key", "")
        if key in self._keys:  # Stripe would answer as it did the first time, be it with a 500
            self.problems.append(f"the key {key!r} was used before")
        self._keys.add(key)
        if "stripe-version" not in request.headers:
            self.problems.append("no version was asked for")


async def _given_up(request: Request) -> None:
    while not await request.is_disconnected():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _error(
    status: int,
    message: str,
    code: str | None = None,
    kind: str = "invalid_request_error",
    headers: dict[str, str] | None = None,
) -> Response:
    error = {"type": kind, "message": message} | ({"code": code} if code else {})
    return JSONResponse({"error": error}, status, headers=headers)


@asynccontextmanager
async def fake_stripe() -> AsyncIterator[FakeStripe]:
    """One that runs, until the end of the block. It is an error to leave its rules."""
    fake = FakeStripe()
    app = Starlette(routes=[Route("/v1/billing/meter_events", fake.meter_events, methods=["POST"])])
    config = uvicorn.Config(
        app, "127.0.0.1", 0, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    fake.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.should_exit = True
        await task
    assert fake.problems == []
