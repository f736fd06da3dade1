"""A session's core on a bench: its clock is turned by hand, its server is the test."""

from typing import Any
from uuid import UUID

import msgspec

from minute_meter.core import ABNORMAL, Core
from minute_meter.events import Event, Phase

SESSION = UUID("6f0a7c2e-8a64-4c58-b0a5-2f9f2c0b1d11")
ORIGIN = 1_800_000_000
BOOT = 5_000.0  # the monotonic clock at the session's start
USAGE: dict[str, Any] = {
    "used_seconds": 0,
    "limit_seconds": None,
    "remaining_seconds": None,
    "unlimited": True,
    "period_start": 0,
    "period_end": 2**31,
    "scope": "organization",
}


class Bench:
    """Seconds on this bench are since the session's start: `now` is 0.0 then."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.wall_ahead = 0.0
        self.events: list[Event] = []
        self.sent: list[dict[str, Any]] = []
        self.server_ahead = 0.0  # of the local clock
        self.core = Core(SESSION, now=BOOT, **{"random": lambda: 1.0, **options})

    @property
    def time(self) -> float:
        """The monotonic clock."""
        return BOOT + self.now

    def take(self) -> list[dict[str, Any]]:
        """The frames to send now, as objects."""
        frames = [msgspec.json.decode(frame) for frame in self.core.frames_to_send()]
        self.events += self.core.events()
        self.sent += frames
        return frames

    def seconds(self) -> list[tuple[int, int]]:
        """The heartbeats to send now, as ranges; nothing else may be sent."""
        frames = self.take()
        assert all(frame["type"] == "heartbeat" for frame in frames), frames
        return [_bounds(frame) for frame in frames]

    def open(self, token: str = "token") -> None:
        """A connection stands, `start` is sent."""
        self.core.connecting()
        self.core.opened(token, self.time)
        assert self.take()[0]["type"] == "start"

    def start(self, **fields: Any) -> None:
        """A connection stands, and the server has answered `start`."""
        self.open()
        self.started(**fields)

    def started(self, **fields: Any) -> None:
        """The server answers `start`."""
        self.say(
            "started",
            **{
                "session_id": str(SESSION),
                "origin": ORIGIN,
                "server_time": ORIGIN + self.now + self.server_ahead,
                "resumed": False,
                "counted_through": -1,
                "durable_through": -1,
                "ack_seconds": 6,
                "usage": USAGE,
                **fields,
            },
        )

    def ack(self, durable: int, heartbeats: int | None, **fields: Any) -> None:
        """An ack; everything that is durable is counted."""
        if heartbeats is not None:
            fields["heartbeats"] = heartbeats
        self.say(
            "ack",
            **{
                "counted_through": durable,
                "durable_through": durable,
                "session_seconds": durable + 1,
                "usage": USAGE,
                **fields,
            },
        )

    def say(self, message: str, /, **fields: Any) -> None:
        """The server says something."""
        self.core.received(msgspec.json.encode({"type": message, **fields}).decode(), self.time)

    def run(self, seconds: float, *, silent: bool = False) -> list[tuple[int, int]]:
        """Let time pass with a tick each second, and unless `silent` a sign of life from the
        server; gives the heartbeats sent."""
        sent = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1, end)
            if not silent:
                self.say("sign_of_life")
            self.tick()
            sent += self.seconds()
        return sent

    def tick(self) -> None:
        """One tick."""
        self.core.advance(self.time, ORIGIN + self.now + self.wall_ahead)

    def lose(self, code: int = ABNORMAL) -> float | None:
        """The connection is lost; gives in how many seconds the next one is to be tried."""
        self.core.lost(code, self.time)
        if self.core.phase is not Phase.WAITING:
            return None
        return self.core.connect_at - self.time

    def of(self, kind: type) -> list[Any]:
        """The events of a kind so far."""
        self.events += self.core.events()
        return [event for event in self.events if type(event) is kind]

    def held(self) -> tuple[tuple[int, int], ...]:
        """What is held."""
        return self.core.held.ranges()


def _bounds(frame: dict[str, Any]) -> tuple[int, int]:
    if "second" in frame:
        return frame["second"], frame["second"]
    return frame["from"], frame["to"]
