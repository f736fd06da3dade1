"""The load generator: a process with many WebSocket sessions, one heartbeat a second each.

The parent drives it over the pipes (see `generator.py`): it prints one JSON object a line,
`connected` when all sessions stand, then a `Snapshot` for each line `snapshot` it reads, and for
`stop` (or the end of its input) the `Totals`, after which it ends.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from uuid import uuid4

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.bench.tokens import organization_name, signed_token

SUBPROTOCOL = "minute-meter.v1"
CONNECTS_AT_ONCE = 50
CONNECT_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class LoadOptions:
    """What one generator process does: its share `index` of `processes` of the `sessions`."""

    url: str
    heartbeats_per_reply: int
    sessions: int
    index: int
    processes: int
    recorder: bool
    secret: str
    origin: str

    def own_sessions(self) -> range:
        """Return the numbers of the sessions that are this process's."""
        return range(self.index, self.sessions, self.processes)


@dataclass(frozen=True)
class Snapshot:
    """Counts since the start. `late_max_ms`: the latest send since the snapshot before."""

    sent: int
    received: int
    cpu_seconds: float
    late_max_ms: float


@dataclass(frozen=True)
class Totals:
    """The end of a load: what was sent, what came back, what the gateway says it counted.

    `replies_due` holds for a server that answers every so many heartbeats, not for our gateway.
    """

    sent: int
    received: int
    replies_due: int
    counted_seconds: int
    stopped_sessions: int
    disconnected_early: int
    errors: dict[str, int]


class Session(WSListener):
    """One connection: sends heartbeats when told, counts what comes back."""

    def __init__(self, number: int, options: LoadOptions) -> None:
        self.url = options.url
        self.organization_id = organization_name(number)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: WSTransport | None = None
        self.next_second = 0
        self.sent = 0
        self.received = 0
        self.counted_seconds: int | None = None
        self.errors: list[str] = []
        self.phase_seconds = number / options.sessions
        self._number = number
        self._options = options
        self._server_ahead_seconds = 0.0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin: a recorder with `start`, an echo's client with nothing."""
        self.transport = transport
        if self._options.recorder:
            transport.send(WSMsgType.TEXT, self._start_frame())
        else:
            self.ready.set_result(None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count a reply; look into it only when it can be other than a plain ack."""
        if frame.msg_type == WSMsgType.TEXT:
            self.received += 1
            if self._options.recorder:
                payload = frame.get_payload_as_bytes()
                if b'"ack"' not in payload:
                    self._take(orjson.loads(payload))
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Release whoever waits for this session."""
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"refused: {self.errors}"))
        if not self.ended.done():
            self.ended.set_result(None)

    def begin_beating(self, first_beat: float) -> None:
        """Fix the second of the beat at `first_beat` (monotonic); each later one is the next."""
        self.next_second = max(0, int(first_beat + self._server_ahead_seconds))

    def send_heartbeat(self) -> bool:
        """Send the next second; return whether the connection still stood."""
        if self.transport is None or self.ended.done():
            return False
        self.transport.send(WSMsgType.TEXT, b'{"type":"heartbeat","second":%d}' % self.next_second)
        self.next_second += 1
        self.sent += 1
        return True

    def replies_due(self) -> int:
        """Return how many of its heartbeats an echo must have answered."""
        return self.sent // self._options.heartbeats_per_reply

    def send_stop(self) -> None:
        """End the session: `stop` for a recorder, a close for an echo's client."""
        if self.transport is None or self.ended.done():
            return
        if self._options.recorder:
            self.transport.send(WSMsgType.TEXT, b'{"type":"stop"}')
        else:
            self.transport.send_close()
            self.transport.disconnect()

    def _start_frame(self) -> bytes:
        user = f"user-{self._number}"
        token = signed_token(self._options.secret, self.organization_id, user)
        return orjson.dumps({"type": "start", "token": token, "session_id": str(uuid4())})

    def _take(self, message: dict[str, Any]) -> None:
        """Heed a message that is no ack."""
        match message["type"]:
            case "started":
                elapsed_seconds = message["server_time"] - message["origin"]
                self._server_ahead_seconds = elapsed_seconds - time.monotonic()
                self.ready.set_result(None)
            case "stopped":
                self.counted_seconds = message["session_seconds"]
            case "error":
                self.errors.append(message["code"])
            case unexpected:
                self.errors.append(f"unexpected {unexpected}")


SomeSession = TypeVar("SomeSession", bound=Session)


class Beat:
    """Sends each session's heartbeat at its own place in every second."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.late_max_seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._sessions = sorted(sessions, key=lambda session: session.phase_seconds)
        self._started = time.monotonic() + 0.1
        self._schedule = self._due_sends()
        self._next_due, self._next_session = next(self._schedule)
        self._timer: asyncio.TimerHandle | None = None
        for session in sessions:
            session.begin_beating(self._started + session.phase_seconds)

    def start(self) -> None:
        """Send what is due, and come back when the next one is."""
        now = time.monotonic()
        self.late_max_seconds = max(self.late_max_seconds, now - self._next_due)
        while self._next_due <= now:
            self._next_session.send_heartbeat()
            self._next_due, self._next_session = next(self._schedule)
        wait_seconds = max(0.001, self._next_due - time.monotonic())
        self._timer = self._loop.call_later(wait_seconds, self.start)

    def stop(self) -> None:
        """Send no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _due_sends(self) -> Iterator[tuple[float, Session]]:
        whole_seconds = 0
        while True:
            for session in self._sessions:
                yield self._started + whole_seconds + session.phase_seconds, session
            whole_seconds += 1


async def connected_sessions(
    options: LoadOptions, make: Callable[[int, LoadOptions], SomeSession]
) -> list[SomeSession]:
    """Open all sessions, some at a time; a refused one fails the run."""
    gate = asyncio.Semaphore(CONNECTS_AT_ONCE)
    headers = {"Origin": options.origin}
    if options.recorder:
        headers["Sec-WebSocket-Protocol"] = SUBPROTOCOL

    async def open_one(number: int) -> SomeSession:
        session = make(number, options)
        async with gate:
            await ws_connect(
                lambda: session,
                session.url,
                extra_headers=headers,
                websocket_handshake_timeout=CONNECT_TIMEOUT_SECONDS,
                read_buffer_init_size=1024,
            )
            await asyncio.wait_for(session.ready, CONNECT_TIMEOUT_SECONDS)
        return session

    return await asyncio.gather(*(open_one(number) for number in options.own_sessions()))


def take_snapshot(beat: Beat, sessions: list[Session]) -> Snapshot:
    """Read the counters, and begin a new measure of lateness."""
    late_max_ms = beat.late_max_seconds * 1000
    beat.late_max_seconds = 0.0
    return Snapshot(
        sent=sum(session.sent for session in sessions),
        received=sum(session.received for session in sessions),
        cpu_seconds=time.process_time(),
        late_max_ms=late_max_ms,
    )


async def stopped_totals(sessions: Sequence[Session]) -> Totals:
    """End all sessions and sum up what they saw."""
    disconnected_early = sum(session.ended.done() for session in sessions)
    await asyncio.sleep(1)  # the last replies of an echo, the last count of a gateway
    received = sum(session.received for session in sessions)
    for session in sessions:
        session.send_stop()
    await asyncio.wait([session.ended for session in sessions], timeout=STOP_TIMEOUT_SECONDS)
    errors: dict[str, int] = {}
    for code in (code for session in sessions for code in session.errors):
        errors[code] = errors.get(code, 0) + 1
    return Totals(
        sent=sum(session.sent for session in sessions),
        received=received,
        replies_due=sum(session.replies_due() for session in sessions),
        counted_seconds=sum(session.counted_seconds or 0 for session in sessions),
        stopped_sessions=sum(session.counted_seconds is not None for session in sessions),
        disconnected_early=disconnected_early,
        errors=errors,
    )


def say(event: str, **fields: Any) -> None:
    """Print one event for the parent."""
    sys.stdout.buffer.write(orjson.dumps({"event": event, **fields}) + b"\n")
    sys.stdout.buffer.flush()


async def run_load(options: LoadOptions) -> None:
    """Connect, beat, and answer the parent until it says `stop`."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    sessions = await connected_sessions(options, Session)
    say("connected")
    beat = Beat(sessions)
    beat.start()
    while (await commands.readline()).strip() == b"snapshot":
        say("snapshot", **asdict(take_snapshot(beat, sessions)))
    beat.stop()
    say("totals", **asdict(await stopped_totals(sessions)))


def main() -> None:
    """Take the options from one JSON argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", help="LoadOptions as JSON")
    uvloop.run(run_load(LoadOptions(**orjson.loads(parser.parse_args().options))))


if __name__ == "__main__":
    main()
