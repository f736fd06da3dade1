"""A recorder's session as a state machine: what is held, what must be sent, when to come back.

No sockets, no tasks, no clock: a driver reports what happened (`connecting`, `opened`, `received`,
`lost`, `advance`, ...) with the monotonic time, sends `frames_to_send()`, hands on `events()`,
drops the connection when `drop` says so, and calls `advance` at `next_wake`.
"""

import logging
from collections.abc import Callable
from math import floor
from typing import Any
from uuid import UUID

from meter.codes import ErrorCode
from meter.messages import Drain, Error, Started, StopNotice, Stopped, Usage, Warning
from minute_meter import wire
from minute_meter.clock import Timeline
from minute_meter.early import EarlyRefusals
from minute_meter.ends import End, State
from minute_meter.errors import FutureSecondError
from minute_meter.events import Drop, Event, HeartbeatSent, Phase, Refused
from minute_meter.held import HeldSeconds
from minute_meter.liveness import Liveness, Since
from minute_meter.reconnect import Backoff, Renewal, may_reconnect
from minute_meter.stopping import Stopping
from minute_meter.wire import Ack

logger = logging.getLogger("minute_meter")

ABNORMAL = 1006  # RFC 6455, 7.4.1: closed without a close frame

# `stop` waits for seconds that are due within so long. Others were numbered by a clock that was set
# back since, and may not be due for an hour.
DUE_SOON_SECONDS = 60

_REFUSALS = frozenset({ErrorCode.SECOND_IN_FUTURE, ErrorCode.SECOND_TOO_LATE})


class Core:
    """One session, over any number of connections.

    `automatic`: seconds are recorded by themselves from the first `started` on. `renewable`: the
    driver can get a fresh token. `phase_seconds` (0 to 1): how long after its end a second is sent;
    without a spread, all clients of the world would send at the same moment.
    """

    def __init__(
        self,
        session_id: UUID,
        *,
        kind: str = "recording",
        metadata: dict[str, Any] | None = None,
        automatic: bool = True,
        renewable: bool = False,
        now: float,
        random: Callable[[], float],
        phase_seconds: float = 0.0,
    ) -> None:
        self.session_id = session_id
        self.phase = Phase.WAITING
        self.connect_at = now
        self.counted_through = -1
        self.durable_through = -1
        self.session_seconds = 0
        self.usage: Usage | None = None
        self.connections = 0
        self.end: End | None = None
        self.drop: Drop | None = None
        self.held = HeldSeconds()
        self._kind = kind
        self._metadata = metadata or {}
        self._automatic = automatic
        self._renewable = renewable
        self._phase_seconds = phase_seconds
        self._timeline = Timeline()
        self._liveness = Liveness(now)
        self._renewal = Renewal(renewable=renewable)
        self._backoff = Backoff(random)
        self._move_at: float | None = None
        self._stopping = Stopping()
        self._early = EarlyRefusals()
        self._frames: list[str] = []
        self._events: list[Event] = []

    # What the driver asks ------------------------------------------------------------------------

    @property
    def origin(self) -> int | None:
        """Second 0 in epoch seconds; None before the first `started`."""
        return self._timeline.origin

    @property
    def over(self) -> bool:
        """Whether the session has ended; then `end` says how."""
        return self.phase is Phase.OVER

    @property
    def state(self) -> State:
        """What the recorder is doing, for its user."""
        if self.over:
            return State.ENDED
        if self._stopping.begun:
            return State.STOPPING
        if self.phase is not Phase.LIVE:
            return State.CONNECTING if self.origin is None else State.RECONNECTING
        return State.RECORDING if self._timeline.recording or not self._automatic else State.PAUSED

    def frames_to_send(self) -> list[str]:
        """What to send on the connection, in order; each frame is given once."""
        frames, self._frames = self._frames, []
        return frames

    def events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def next_wake(self, now: float) -> float:
        """When `advance` is to be called at the latest: a moment each second, and what is due."""
        wakes = [now + 1.0]
        position = self._timeline.position(now)
        if position is not None:
            place = position - self._phase_seconds
            wakes.append(now + floor(place) + 1 - place)
        if self._move_at is not None:
            wakes.append(self._move_at)
        if self.phase is Phase.WAITING:
            wakes.append(self.connect_at)
        return min(wakes)

    def refresh_due(self, now: float) -> bool:
        """Whether to fetch a fresh token, for `refresh`. True once, then not for a while."""
        return self.phase is Phase.LIVE and self._renewal.due(now)

    def second_under_way(self, now: float) -> int | None:
        """The session's second at this moment by the server's clock; None when that isn't known."""
        position = self._timeline.position(now)
        return None if position is None else floor(position)

    # What the user does --------------------------------------------------------------------------

    def pause(self, now: float) -> None:
        """Nothing is recorded from now on: those seconds aren't sent."""
        self._timeline.end(now)

    def resume(self, now: float) -> None:
        """Something is recorded again."""
        if self._automatic and not self._stopping.begun and not self.over:
            self._timeline.begin(now)

    def heartbeat(self, first: int, last: int, now: float) -> None:
        """Something was recorded in the seconds from `first` to `last`, inclusive.

        Raises `FutureSecondError` for one that is more than 1 ahead of the server's clock, and
        ValueError for what is no interval.
        """
        if not 0 <= first <= last:
            raise ValueError(f"no interval of seconds: {first} to {last}")
        if self._stopping.asked or self.over:
            return
        under_way = self.second_under_way(now)
        if under_way is not None and last > under_way + 1:
            raise FutureSecondError(last, under_way + 1)
        self.held.add(first, last)
        self._pump(now)

    def stop(self, now: float) -> None:
        """End the session, once all it recorded has been sent; over reconnects if need be."""
        if self._stopping.asked or self.over:
            return
        self._timeline.end(now)
        self._stopping.asked = True
        self._record(now)
        self._pump(now)

    def refresh(self, token: str, now: float) -> None:
        """A fresh token, to be used from now on."""
        if self.phase is Phase.LIVE:
            self._frames.append(wire.refresh(token))
            self._renewal.use(token)
            self._renewal.plan(self._timeline.epoch(now), now)

    # What happens --------------------------------------------------------------------------------

    def connecting(self) -> None:
        """The driver begins to open a connection."""
        self.phase = Phase.CONNECTING

    def opened(self, token: str, now: float) -> None:
        """A connection stands. Raises `InvalidStartError`."""
        self._frames = [wire.start(token, self.session_id, self._kind, self._metadata, self.origin)]
        self.phase = Phase.STARTING
        self.drop = None
        self._stopping.connected()
        self._early.connected()
        self._liveness.heard(now)
        self._renewal.use(token)

    def received(self, frame: str | bytes, now: float) -> None:
        """A frame came."""
        self._liveness.heard(now)
        if self.over:
            return
        match wire.decode(frame):
            case Started() as message:
                self._on_started(message, now)
            case Ack() as message:
                self._on_ack(message)
            case Warning() as message:
                self._events.append(message)
            case StopNotice() as message:
                self._on_stop_notice(message, now)
            case Stopped() as message:
                self._on_stopped(message)
            case Drain() as message:
                self._move_at = now + max(message.reconnect_after_ms, 0) / 1000
            case Error() as message:
                self._on_error(message, now)

    def lost(self, code: int, now: float, reason: str = "") -> None:
        """The connection is gone, or could not be opened. `code`: 1006 without a close frame."""
        if self.over:
            return
        self.held.connection_lost()
        self._frames = []
        self._stopping.lost()
        dropped, self.drop = self.drop, None
        move_at, self._move_at = self._move_at, None
        if not may_reconnect(code, renewable=self._renewable):
            self._end(self._stopping.closed(code, reason, self.session_seconds))
            return
        self.phase = Phase.WAITING
        if move_at is not None:
            self.connect_at = max(move_at, now)
        elif dropped is Drop.MOVE:
            self.connect_at = now
        else:
            self.connect_at = now + self._backoff.next_seconds()

    def advance(self, now: float, wall: float | None = None) -> None:
        """Time has passed. `wall`, the local epoch seconds, tells whether the machine slept."""
        if self.over:
            return
        since = self._liveness.tick(now, wall)
        if since is not Since.AWAKE and self.phase in (Phase.STARTING, Phase.LIVE):
            self.drop = Drop.DEAD  # a socket may look open after sleep, and be dead
        if since is Since.CLOCK_STOOD:
            # What is recorded from here gets its numbers when the server has told the time.
            self._record(now)
            self._timeline.forget()
        self._timeline.note(now)
        self._record(now)
        self._watch(now)
        self._pump(now)

    # Inside --------------------------------------------------------------------------------------

    def _record(self, now: float) -> None:
        for first, last in self._timeline.take(now, finish=self._stopping.asked):
            self.held.add(first, last)

    def _watch(self, now: float) -> None:
        if self.phase not in (Phase.STARTING, Phase.LIVE) or self.drop is not None:
            return
        if self._liveness.silent(now):
            logger.info("nothing was heard for long: the connection is dead")
            self.drop = Drop.DEAD
        elif self._move_at is not None and now >= self._move_at:
            self._move_at = None
            self.drop = Drop.MOVE

    def _pump(self, now: float) -> None:
        under_way = self.second_under_way(now)
        if self.phase is not Phase.LIVE or self.drop is not None or under_way is None:
            return
        if self._early.quiet(now):
            return
        # After a stop of the server's, only what it counted is sent again, to become durable.
        last_wanted = self._stopping.last_wanted
        limit = under_way + 1 if last_wanted is None else min(under_way + 1, last_wanted)
        for frame, (first, last) in self.held.take(limit):
            self._frames.append(wire.heartbeat(first, last))
            self._events.append(HeartbeatSent(frame, first, last))
        if self._stopping.to_send:
            due_soon = self._timeline.due_within(DUE_SOON_SECONDS, now)
            self._send_stop(due_soon if last_wanted is None else last_wanted, now)

    def _send_stop(self, wait_for: int, now: float) -> None:
        if self.held.has_unsent(wait_for):
            return
        if self._stopping.may_ask_time and self.held.has_unsent():
            self._move_at = now
            return
        self._stopping.sent()
        self._frames.append(wire.STOP)

    def _on_started(self, message: Started, now: float) -> None:
        # What was recorded so far is numbered by the clock that was known then: where the new one
        # is ahead, the machine slept, and the time between was not recorded.
        self._timeline.note(now)
        self._record(now)
        before = self.origin
        self._timeline.synchronize(message.origin, message.server_time, now)
        self._stopping.started()
        if before is not None and before != message.origin:
            self._renumber(before - message.origin)
        self.phase = Phase.LIVE
        self.connections += 1
        self.counted_through = message.counted_through
        self.durable_through = message.durable_through
        self.usage = message.usage
        self._liveness.expect_acks(message.ack_seconds)
        self._renewal.plan(self._timeline.epoch(now), now)
        if before is None:
            self.resume(now)
        self._record(now)
        self._events.append(message)
        self._pump(now)

    def _renumber(self, shift: int) -> None:
        # Neither Redis nor Postgres knew the session any more, so it begins anew: the same
        # moments have other numbers, and those before its beginning have none.
        dropped = self.held.renumber(shift)
        if dropped:
            text = "the server no longer knew the session; these were before its new beginning"
            self._refuse(Refused(ErrorCode.SECOND_TOO_LATE, text, dropped))

    def _on_ack(self, message: Ack) -> None:
        self._backoff.reset()
        self.counted_through = message.counted_through
        self.durable_through = message.durable_through
        self.session_seconds = message.session_seconds
        self.usage = message.usage
        covered = message.heartbeats
        if covered is None:  # a server that doesn't say is taken at its word on all that was sent
            covered = self.held.frames_sent
        self.held.let_go(message.durable_through, covered)
        self._events.append(message)

    def _on_stop_notice(self, message: StopNotice, now: float) -> None:
        self._timeline.end(now)
        self._record(now)
        self._stopping.notice = message
        self._events.append(message)

    def _on_stopped(self, message: Stopped) -> None:
        self.session_seconds = message.session_seconds
        self.durable_through = max(self.durable_through, message.durable_through)
        self.drop = Drop.DONE
        self._end(self._stopping.confirmed(message))

    def _on_error(self, message: Error, now: float) -> None:
        if message.fatal:
            self._stopping.failed(message)
        elif message.code in _REFUSALS:
            self._refuse(Refused(message.code, message.message))
            if message.code == ErrorCode.SECOND_IN_FUTURE:
                self._set_clock_back(now)
        else:
            logger.warning("the server answered %s: %s", message.code, message.message)

    def _set_clock_back(self, now: float) -> None:
        if self._timeline.position(now) is None:
            return
        self._record(now)
        # The message doesn't say which seconds it means, so all that may be meant go out again when
        # they are due. An ack of later ones doesn't let go of them.
        self.held.send_again()
        ask_at = self._early.refused(self._timeline, now)
        if ask_at is not None:
            self._move_at = ask_at

    def _refuse(self, refused: Refused) -> None:
        logger.warning("seconds refused (%s): %s", refused.code, refused.message)
        self._events.append(refused)

    def _end(self, end: End) -> None:
        self._timeline.recording = False
        self.phase = Phase.OVER
        self.end = end
