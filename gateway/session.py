"""The recorder's session as a state machine: a frame, a reply or a tick in, actions out. Pure.

It reads no clock and waits for nothing: `now` is a monotonic time in seconds, and what has to be
done (send, close, ask the ledger) is put into `outbox` for a driver to do. So it runs the same on
any WebSocket implementation.
"""

from enum import Enum, auto

import msgspec

from gateway.actions import (
    Action,
    Authenticate,
    Close,
    End,
    Open,
    Queue,
    Send,
    SessionTimes,
)
from gateway.identity import Identity, TokenRefused
from meter import messages
from meter.codes import CloseCode, EndReason, ErrorCode
from meter.ledger.types import (
    Counted,
    CountStatus,
    Opened,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
    SessionState,
    Standing,
)
from meter.messages import MessageError, ServerMessage
from meter.seconds import Range, SecondSet
from meter.usage import room, usage_of

# So many frames that are no messages, and the connection is closed: it costs, and means nothing.
MAX_BAD_FRAMES = 20


class Phase(Enum):
    """Where a connection's session is."""

    WAITING = auto()  # for `start`
    OPENING = auto()  # `start` is being looked into
    LIVE = auto()
    STOPPING = auto()  # told to stop; the grace runs
    ENDING = auto()  # ends as soon as all that was heard is counted
    DRAINING = auto()  # closes as soon as all that was heard is counted
    OVER = auto()


_COUNTING = frozenset({Phase.LIVE, Phase.STOPPING, Phase.ENDING, Phase.DRAINING})
_HEARING = frozenset({Phase.LIVE, Phase.STOPPING})

# What a session that ended elsewhere tells its connection.
_ENDED_CLOSE = {
    EndReason.ADMIN: CloseCode.STOPPED_BY_OPERATOR,
    EndReason.LIMIT_REACHED: CloseCode.LIMIT_REACHED,
}


class RecorderSession:
    """One connection's session. After each call, a driver does what is in `outbox`."""

    def __init__(self, times: SessionTimes, rules: Rules, owner: int, now: float) -> None:
        self.outbox: list[Action] = []
        self.phase = Phase.WAITING
        self.identity: Identity | None = None
        self.request: OpenRequest | None = None
        self.state: SessionState | None = None
        self.undurable = SecondSet()
        self.owner = owner
        self._times = times
        self._rules = rules
        self._start: messages.Start | None = None
        self._refreshing = 0
        self._bad_frames = 0
        self._deadline = now + times.start_timeout
        self._token_deadline = float("inf")
        self._pending = SecondSet()
        self._inflight: SecondSet | None = None
        self._inflight_heartbeats = 0
        self._queued = False
        self._heartbeats = 0
        self._covered = 0
        self._sent_through = -1
        self._seconds = 0
        self._durable_through = -1
        self._asked_at = now
        self._acked_at = float("-inf")
        self._standing: Standing | None = None
        self._end_reason = EndReason.STOPPED
        self._reconnect_after_ms = 0
        self._server_offset = 0.0

    # What the client says ---------------------------------------------------------------------

    def frame(self, data: str | bytes, now: float) -> None:
        """A text frame came (bytes: a binary one, which is no message)."""
        if self.phase is Phase.OVER:
            return
        try:
            if isinstance(data, bytes):
                raise MessageError(ErrorCode.BAD_MESSAGE, "messages are text frames")
            message = messages.decode(data)
            if type(message) is messages.Heartbeat:
                self._heartbeat(message)
            elif type(message) is messages.Start:
                self._on_start(message)
            elif type(message) is messages.Stop:
                self._on_stop()
            else:
                self._on_refresh(message)
        except MessageError as error:
            self._bad_frame(error)

    def _bad_frame(self, error: MessageError) -> None:
        self._bad_frames += 1
        if self._bad_frames > MAX_BAD_FRAMES:
            self._fail(ErrorCode.BAD_MESSAGE, error.detail, CloseCode.BAD_MESSAGE)
        else:
            self._error(error.code, error.detail)

    def _on_start(self, message: messages.Start) -> None:
        if self.phase is not Phase.WAITING:
            raise MessageError(ErrorCode.ALREADY_STARTED, "this connection has its session")
        self._start = message
        self.phase = Phase.OPENING
        self.outbox.append(Authenticate(message.token))

    def _on_refresh(self, message: messages.Refresh) -> None:
        if self.phase not in _HEARING:
            raise MessageError(ErrorCode.NOT_STARTED, "`start` comes first")
        if self._refreshing:
            raise MessageError(ErrorCode.BAD_MESSAGE, "the last `refresh` is still looked into")
        self._refreshing += 1
        self.outbox.append(Authenticate(message.token))

    def _on_stop(self) -> None:
        if self.phase not in _HEARING:
            raise MessageError(ErrorCode.NOT_STARTED, "`start` comes first")
        reason = self._end_reason if self.phase is Phase.STOPPING else EndReason.STOPPED
        self._end(reason)

    def _heartbeat(self, message: messages.Heartbeat) -> None:
        if self.phase not in _HEARING:
            if self.phase in _COUNTING:
                return  # after `stop`, or while draining: the client will bring it again
            raise MessageError(ErrorCode.NOT_STARTED, "`start` comes first")
        bounds = message.bounds()
        if bounds is None:
            raise MessageError(
                ErrorCode.BAD_MESSAGE, "heartbeat: `second`, or `from` and `to` in this order"
            )
        self._heartbeats += 1
        first, last = self._clip(*bounds)
        if first > last:
            return
        self._pending.add(first, last)
        self._sent_through = max(self._sent_through, last)
        self._queue()

    def _clip(self, first: int, last: int) -> Range:
        """Refuse at once what no clock could allow, so that no number makes a set grow."""
        if first < 0:
            self._refused(ErrorCode.SECOND_TOO_LATE)
            first = 0
        horizon = self._rules.max_session_seconds + self._rules.future_seconds
        if last > horizon:
            self._refused(ErrorCode.SECOND_IN_FUTURE)
            last = horizon
        return first, last

    # What the driver answers ------------------------------------------------------------------

    def authenticated(self, identity: Identity, now: float) -> None:
        """The token of `start` or `refresh` is good."""
        if self.phase is Phase.OPENING and self._start is not None:
            self._admit(identity, self._start)
        elif self.phase in _COUNTING and self.identity is not None:
            self._refreshing = 0
            same = (identity.user_id, identity.organization_id) == (
                self.identity.user_id,
                self.identity.organization_id,
            )
            if not same or "record" not in identity.scopes:
                self._error(ErrorCode.NOT_ALLOWED, "the token is of another user or scope")
                return
        else:
            return
        self.identity = identity
        self._token_deadline = now + identity.expires_in + self._times.token_grace

    def _admit(self, identity: Identity, start: messages.Start) -> None:
        self._start = None  # the token isn't kept
        if "record" not in identity.scopes:
            self._fail(ErrorCode.NOT_ALLOWED, "scope `record` is needed", CloseCode.NOT_ALLOWED)
            return
        self.request = OpenRequest(
            key=SessionKey(identity.organization_id, str(start.session_id)),
            user_id=identity.user_id,
            kind=start.kind,
            owner=self.owner,
            metadata=msgspec.json.encode(start.metadata).decode() if start.metadata else "",
        )
        self.outbox.append(Open(self.request))

    def refused(self, error: TokenRefused) -> None:
        """The token of `start` or `refresh` isn't good."""
        if self.phase is Phase.OPENING:
            if error.expired:
                self._fail(ErrorCode.TOKEN_EXPIRED, str(error), CloseCode.TOKEN_EXPIRED)
            else:
                self._fail(ErrorCode.TOKEN_REFUSED, str(error), CloseCode.TOKEN_REFUSED)
        elif self.phase is not Phase.OVER:
            self._refreshing = 0
            self._error(ErrorCode.TOKEN_REFUSED, str(error))

    def opened(self, answer: Opened, now: float) -> None:
        """The ledger's answer to `Open`."""
        if self.phase is not Phase.OPENING:
            return
        if answer.session is None or answer.standing is None:
            self._not_opened(answer.status)
            return
        self.state = state = answer.session
        self._standing = answer.standing
        self._server_offset = answer.server_time - now
        self._seconds = state.seconds
        self._sent_through = state.highest
        self._durable_through = state.durable_through
        self._asked_at = now
        self.phase = Phase.LIVE
        self._send(
            messages.Started(
                session_id=state.key.session_id,
                origin=state.origin,
                server_time=answer.server_time,
                resumed=answer.status is OpenStatus.RESUMED,
                counted_through=state.highest,
                durable_through=state.durable_through,
                ack_seconds=self._times.ack,
                usage=usage_of(answer.standing),
            )
        )
        self._check_limit(state.highest, now)

    def _not_opened(self, status: OpenStatus) -> None:
        if status is OpenStatus.FOREIGN:
            self._fail(
                ErrorCode.NOT_ALLOWED, "this session is another's", CloseCode.NOT_ALLOWED
            )
        elif status is OpenStatus.LIMIT_REACHED:
            self._fail(
                ErrorCode.LIMIT_REACHED, "no seconds are left in this period",
                CloseCode.LIMIT_REACHED,
            )
        else:
            self._fail(
                ErrorCode.SESSION_ENDED, "this session has ended; start another",
                CloseCode.SESSION_ENDED,
            )

    def unavailable(self) -> None:
        """The session could not be opened now."""
        if self.phase is Phase.OPENING:
            self._fail(
                ErrorCode.STORAGE_UNAVAILABLE,
                "sessions can't be opened now; try again soon",
                CloseCode.STORAGE_UNAVAILABLE,
            )

    # Counting ---------------------------------------------------------------------------------

    @property
    def key(self) -> SessionKey:
        """Names the session, once it is opened."""
        assert self.state is not None
        return self.state.key

    @property
    def has_pending(self) -> bool:
        """Whether something that was heard is not counted yet."""
        return bool(self._pending) or bool(self._inflight)

    def take(self) -> tuple[Range, ...]:
        """Ranges to count now; the next call is `counted` or `not_counted`."""
        self._inflight, self._pending = self._pending, SecondSet()
        self._inflight_heartbeats = self._heartbeats
        self._queued = False
        return self._inflight.ranges()

    def not_counted(self) -> None:
        """What was taken could not be counted: it waits on."""
        if self._inflight is not None:
            self._pending.merge(self._inflight)
            self._inflight = None
        self._queue()

    def inherit(self, other: "RecorderSession") -> None:
        """Take over what another connection of this session has heard and not seen durable."""
        self._pending.merge(other._pending)
        if other._inflight is not None:
            self._pending.merge(other._inflight)
        self.undurable.merge(other.undurable)
        if self._pending:
            self._queue()

    def recount(self) -> None:
        """The ledger has lost seconds: give it back all that isn't durable."""
        self._pending.merge(self.undurable)
        self._queue()

    def counted(self, reply: Counted, now: float) -> None:
        """The ledger's answer for what was taken (`COUNTED` or `ENDED`)."""
        inflight, self._inflight = self._inflight or SecondSet(), None
        if reply.status is CountStatus.ENDED:
            self._ended_elsewhere(reply)
            return
        # Before this call the ledger cannot have had fewer than it told last, unless it lost some.
        lost = reply.seconds - reply.new < self._seconds
        self._seconds = reply.seconds
        self._covered = self._inflight_heartbeats
        self._standing = reply.standing
        self._asked_at = now
        refusals = reply.in_future + reply.too_late + reply.over_limit + reply.over_duration
        if refusals:
            self._tell_refusals(reply, now)
        else:
            # A refused second is never given back, so a set with one in it isn't kept.
            self.undurable.merge(inflight)
        if lost:
            self.recount()
        else:
            self.undurable.discard_through(reply.durable_through)
        self._after_count(reply, len(inflight), now)

    def _after_count(self, reply: Counted, asked: int, now: float) -> None:
        if reply.owner not in (self.owner, 0):
            self._taken_over()
            return
        through = self._counted_through()
        durable = min(reply.durable_through, through)
        news = durable > self._durable_through or asked > 1
        self._durable_through = durable
        if news or now - self._acked_at >= self._times.ack - 1:
            self._ack(through, now)
        if self.phase is Phase.LIVE:
            self._check_duration(reply, now)
            self._check_limit(reply.highest, now)
        self._settle_phase()

    def _counted_through(self) -> int:
        if self._pending:
            return min(self._pending.lowest() - 1, self._sent_through)
        return self._sent_through

    def _ack(self, through: int, now: float) -> None:
        if self._standing is None:
            return
        self._acked_at = now
        self._send(
            messages.Ack(
                counted_through=through,
                durable_through=self._durable_through,
                session_seconds=self._seconds,
                heartbeats=self._covered,
                usage=usage_of(self._standing),
            )
        )

    def _tell_refusals(self, reply: Counted, now: float) -> None:
        if reply.in_future:
            self._refused(ErrorCode.SECOND_IN_FUTURE)
            horizon = self._server_second(now) + self._rules.future_seconds
            self._sent_through = max(min(self._sent_through, horizon), reply.highest)
        if reply.too_late:
            self._refused(ErrorCode.SECOND_TOO_LATE)

    def _server_second(self, now: float) -> int:
        assert self.state is not None
        return int(now + self._server_offset) - self.state.origin

    def _check_limit(self, last_second: int, now: float) -> None:
        if self._standing is not None and room(self._standing) == 0:
            self._stop(EndReason.LIMIT_REACHED, last_second, now)

    def _check_duration(self, reply: Counted, now: float) -> None:
        longest = self._rules.max_session_seconds
        if reply.over_duration or self._server_second(now) >= longest:
            self._stop(EndReason.MAX_DURATION, reply.highest, now)

    def _stop(self, reason: EndReason, last_second: int, now: float) -> None:
        if self.phase is not Phase.LIVE:
            return
        self.phase = Phase.STOPPING
        self._end_reason = reason
        self._deadline = now + self._times.stop_grace
        self._send(messages.StopNotice(reason.value, last_second, self._times.stop_grace))

    # Ends -------------------------------------------------------------------------------------

    def drain(self, reconnect_after_ms: int) -> None:
        """The gateway goes away: let go of the connection once all that was heard is counted."""
        if self.phase in (Phase.WAITING, Phase.OPENING):
            self._send(messages.Drain(reconnect_after_ms))
            self._close(CloseCode.DRAINING, "draining")
        elif self.phase in _HEARING:
            self.phase = Phase.DRAINING
            self._reconnect_after_ms = reconnect_after_ms
            self._settle_phase()

    def superseded(self) -> None:
        """Another connection of this gateway speaks for the session now."""
        if self.phase is not Phase.OVER:
            self._taken_over()

    def ended(self, state: SessionState | None) -> None:
        """The ledger's answer to `End`."""
        if self.phase is Phase.OVER:
            return
        seconds = self._seconds if state is None else state.seconds
        self._send(messages.Stopped(self._end_reason.value, seconds))
        if self._end_reason is EndReason.LIMIT_REACHED:
            self._close(CloseCode.LIMIT_REACHED, "limit reached")
        else:
            self._close(CloseCode.NORMAL, self._end_reason.value)

    def overloaded(self) -> None:
        """There is no room for this connection."""
        self._fail(
            ErrorCode.OVERLOADED, "too many connections here; try again soon", CloseCode.OVERLOADED
        )

    def forbidden(self, detail: str) -> None:
        """This connection may not be: its origin isn't one of the allowed."""
        self._fail(ErrorCode.NOT_ALLOWED, detail, CloseCode.NOT_ALLOWED)

    def disconnected(self) -> None:
        """The connection is gone. What was heard is still to be counted, and what was to end ends."""
        if self.phase is not Phase.ENDING:
            self.phase = Phase.OVER

    def tick(self, now: float) -> None:
        """About once a second."""
        if self.phase is Phase.LIVE or self.phase is Phase.STOPPING:
            if now - self._asked_at >= self._times.ack - 1:
                self._queue()  # a sign of life, answered with the account's present standing
            if now >= self._token_deadline:
                self._fail(
                    ErrorCode.TOKEN_EXPIRED, "the token has expired", CloseCode.TOKEN_EXPIRED
                )
            elif self.phase is Phase.STOPPING and now >= self._deadline:
                self._end(self._end_reason)
        elif self.phase is Phase.WAITING and now >= self._deadline:
            self._fail(ErrorCode.NO_START, "no `start` came in time", CloseCode.NO_START)

    def _end(self, reason: EndReason) -> None:
        self._end_reason = reason
        self.phase = Phase.ENDING
        self._settle_phase()

    def _settle_phase(self) -> None:
        if self.has_pending:
            return
        if self.phase is Phase.ENDING:
            self.outbox.append(End(self._end_reason))
        elif self.phase is Phase.DRAINING:
            self._send(messages.Drain(self._reconnect_after_ms))
            self._close(CloseCode.DRAINING, "draining")

    def _ended_elsewhere(self, reply: Counted) -> None:
        reason = EndReason(reply.end_reason)
        if reason is EndReason.ADMIN:
            self._send(messages.StopNotice(reason.value, reply.highest, 0))
        self._send(messages.Stopped(reason.value, reply.seconds))
        code = _ENDED_CLOSE.get(reason, CloseCode.SESSION_ENDED)
        self._close(code, reason.value)

    def _taken_over(self) -> None:
        self._fail(
            ErrorCode.TAKEN_OVER,
            "another connection speaks for this session now",
            CloseCode.TAKEN_OVER,
        )

    def _queue(self) -> None:
        if not self._queued and self.state is not None:
            self._queued = True
            self.outbox.append(Queue())

    def _send(self, message: ServerMessage) -> None:
        self.outbox.append(Send(message))

    def _refused(self, code: ErrorCode) -> None:
        self._error(code, "refused, and not counted")

    def _error(self, code: ErrorCode, detail: str) -> None:
        self._send(messages.Error(code.value, detail, fatal=False))

    def _fail(self, code: ErrorCode, detail: str, close: CloseCode) -> None:
        self._send(messages.Error(code.value, detail, fatal=True))
        self._close(close, code.value)

    def _close(self, code: CloseCode, reason: str) -> None:
        self.phase = Phase.OVER
        self.outbox.append(Close(code, reason))
