"""The recorder's session as a state machine: a frame, a reply or a tick in, actions out. Pure.

It reads no clock and waits for nothing: `now` is a monotonic time in seconds, and what has to be
done (send, close, ask the ledger) is put into `outbox` for a driver to do. So it runs the same on
any WebSocket implementation.
"""

from gateway import admission
from gateway.actions import QUEUE, Authenticate, End, Open, SessionTimes
from gateway.client import ClientSide, Phase
from gateway.identity import Identity, TokenRefused
from gateway.tally import Tally
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
from meter.messages import MessageError
from meter.seconds import Range
from meter.thresholds import Told
from meter.usage import is_exhausted, is_limited, usage_of, warning_of

# A session that says nothing asks for the account's standing this often, so that a stop or a new
# limit reaches it within two seconds; one with a heartbeat a second learns of it anyway.
LOOK_SECONDS = 1.2

# An ack goes out with the first reply that comes so long before the longest time between acks;
# if no reply comes for a while more, one is asked for.
ACK_EARLY_SECONDS = 1.25
ASK_EARLY_SECONDS = 0.75

# The server's clock is known to about this much; in doubt a second is too late.
CLOCK_DOUBT_SECONDS = 2


class RecorderSession(ClientSide):
    """One connection's session. After each call, a driver does what is in `outbox`."""

    def __init__(self, times: SessionTimes, rules: Rules, owner: int, now: float) -> None:
        super().__init__()
        self.identity: Identity | None = None
        self.request: OpenRequest | None = None
        self.claimed_origin: int | None = None
        self.state: SessionState | None = None
        self.tally = Tally()
        self.owner = owner
        self._times = times
        self._rules = rules
        self._horizon = rules.max_session_seconds + rules.future_seconds
        self._ack_due_seconds = times.ack - ACK_EARLY_SECONDS
        self._start: messages.Start | None = None
        self._deadline = now + times.start_timeout
        self._token_deadline = float("inf")
        self._queued = False
        self._deaf = False
        self._end_asked = False
        self._asked_at = now
        self._acked_at = float("-inf")
        self._longest_until = float("inf")
        self._standing: Standing | None = None
        self._end_reason = EndReason.STOPPED
        self._reconnect_after_ms = 0
        self._server_offset = 0.0

    @property
    def hearing(self) -> bool:
        """Whether heartbeats are taken."""
        return self.phase is Phase.LIVE or self.phase is Phase.STOPPING

    @property
    def opening(self) -> bool:
        """Whether the client waits for its session to be opened."""
        return self.phase is Phase.OPENING

    @property
    def key(self) -> SessionKey:
        """Names the session, once it is opened."""
        assert self.state is not None
        return self.state.key

    @property
    def unfinished(self) -> bool:
        """Whether something is left to do once the connection is gone: to count, or to end."""
        return self.tally.waiting or self.phase is Phase.ENDING

    @property
    def finished(self) -> bool:
        """Whether nothing will come of it any more."""
        return self.phase is Phase.OVER and not self.tally.waiting

    # What the client says ---------------------------------------------------------------------

    def frame(self, data: str | bytes, now: float) -> None:
        """A text frame came."""
        if self.phase is Phase.OVER:
            return
        try:
            message = messages.decode(data)
            if type(message) is messages.Heartbeat:
                self._heartbeat(message)
            elif type(message) is messages.Start:
                self._on_start(message)
            elif type(message) is messages.Refresh:
                self._on_refresh(message)
            else:
                self._on_stop()
        except MessageError as error:
            self._bad_frame(error)

    def _on_start(self, message: messages.Start) -> None:
        if self.phase is not Phase.WAITING:
            raise MessageError(ErrorCode.ALREADY_STARTED, "this connection has its session")
        self._start = admission.checked(message)
        self.phase = Phase.OPENING
        self.outbox.append(Authenticate(message.token))

    def _on_refresh(self, message: messages.Refresh) -> None:
        self._require_started()
        self.outbox.append(Authenticate(message.token))

    def _on_stop(self) -> None:
        self._require_started()
        # A heartbeat before it that wasn't heard would be lost: the client brings both again.
        if self.phase is not Phase.ENDING and not self._deaf:
            self._end(self._end_reason if self.phase is Phase.STOPPING else EndReason.STOPPED)

    def _require_started(self) -> None:
        if self.state is None:
            raise MessageError(ErrorCode.NOT_STARTED, "`start` comes first")

    def _heartbeat(self, message: messages.Heartbeat) -> None:
        if not (self.phase is Phase.LIVE or self.phase is Phase.STOPPING):
            self._require_started()
            self._deaf = True  # after `stop`, or while draining: the client will bring it again
            return
        bounds = message.bounds()
        if bounds is None:
            raise MessageError(
                ErrorCode.BAD_MESSAGE, "heartbeat: `second`, or `from` and `to` in this order"
            )
        self.tally.heartbeats += 1
        first, last = bounds
        if first < 0 or last > self._horizon:
            first, last = self._clip(first, last)
            if first > last:
                return
        self.tally.hear(first, last)
        if not self._queued:
            self._queue()

    def _clip(self, first: int, last: int) -> Range:
        """Refuse at once what no clock could allow, so that no number makes a set grow."""
        if first < 0:
            self._refused(ErrorCode.SECOND_TOO_LATE)
        if last > self._horizon:
            self._refused(ErrorCode.SECOND_IN_FUTURE)
        return max(first, 0), min(last, self._horizon)

    # What the driver answers ------------------------------------------------------------------

    def authenticated(self, identity: Identity, now: float) -> None:
        """The token of `start` or `refresh` is good."""
        if self.phase is Phase.OVER:
            return
        if self._start is not None:
            start, self._start = self._start, None  # the token isn't kept
            if "record" not in identity.scopes:
                self._fail(admission.SCOPE_MISSING)
                return
            self.request = admission.open_request(start, identity, self.owner)
            self.claimed_origin = start.origin if isinstance(start.origin, int) else None
            self.outbox.append(Open(self.request))
        elif "record" not in identity.scopes or not identity.is_same_user(self.identity):
            self._error(ErrorCode.NOT_ALLOWED, "the token is of another user or scope")
            return
        self.identity = identity
        self._token_deadline = now + identity.expires_in + self._times.token_grace

    def refused(self, error: TokenRefused) -> None:
        """The token of `start` or `refresh` isn't good."""
        refusal = admission.token_refused(error)
        if self._start is not None:
            self._start = None
            self._fail(refusal)
        else:
            self._error(refusal.code, refusal.detail)

    def opened(self, answer: Opened, now: float) -> None:
        """The ledger's answer to `Open`."""
        if self.phase is not Phase.OPENING:
            return
        if answer.session is None or answer.standing is None:
            self._fail(admission.not_opened(answer.status))
            return
        self.state = state = answer.session
        self.tally.start_from(state)
        self._server_offset = answer.server_time - now
        self._heed(answer.standing)
        self.tally.told = Told.parse(answer.told)
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
        self._check_bounds(state.highest, now)

    def unavailable(self) -> None:
        """The session could not be opened now."""
        if self.phase is Phase.OPENING:
            self._fail(admission.UNAVAILABLE)

    # Counting ---------------------------------------------------------------------------------

    def take(self) -> tuple[Range, ...]:
        """Ranges to count now; the next call is `counted` or `not_counted`."""
        self._queued = False
        return self.tally.take()

    def look(self) -> None:
        """Ask for the account's standing now, as it may have changed for all its sessions."""
        if self.phase is Phase.LIVE:
            self._queue()

    def not_counted(self) -> None:
        """What was taken could not be counted: it waits on, and whoever took it takes it again."""
        self._queued = True
        self.tally.put_back()

    def inherit(self, other: Tally) -> None:
        """Take over what another connection of this session has heard and not seen durable."""
        self.tally.inherit(other)
        if self.tally.waiting:
            self._queue()

    def counted(self, reply: Counted, now: float) -> None:
        """The ledger's answer for what was taken. Unless it says `COUNTED`, this is the end."""
        if reply.status is not CountStatus.COUNTED:
            self._ended_elsewhere(reply)
            return
        assert reply.standing is not None
        limits_changed = self._heed(reply.standing)
        self._asked_at = now
        tally = self.tally
        asked = tally.counted(reply, self._earliest(now) if reply.too_late else 0)
        if reply.in_future or reply.too_late:
            self._out_of_bounds(reply)
        if tally.pending:
            self._queue()
        if self.phase is Phase.OVER:
            return
        if reply.owner > self.owner:  # an older one may be opened late, after its client gave it up
            self.superseded()
            return
        through = tally.counted_through()
        durable = min(reply.durable_through, through)
        news = durable > tally.durable_through or asked > 1 or limits_changed
        tally.durable_through = durable
        if news or now - self._acked_at >= self._ack_due_seconds:
            self._ack(through, now)
        if self.phase is Phase.LIVE:
            if is_limited(reply.standing):
                self._warn(reply.standing)
            self._check_bounds(reply.highest, now, reply.over_duration > 0)
        else:
            self._settle_phase()

    def _heed(self, standing: Standing) -> bool:
        """How the account stands now; whether its limits or its plan have changed."""
        before, self._standing = self._standing, standing
        if before is None or standing.terms is not before.terms:
            assert self.state is not None
            longest = standing.terms.longest(self._rules.max_session_seconds)
            self._longest_until = self.state.origin + longest - self._server_offset
            return True
        return standing.limit != before.limit or standing.member_limit != before.member_limit

    def _out_of_bounds(self, reply: Counted) -> None:
        if reply.in_future:
            self._refused(ErrorCode.SECOND_IN_FUTURE)
        if reply.too_late:
            self._refused(ErrorCode.SECOND_TOO_LATE)

    def _earliest(self, now: float) -> int:
        assert self.state is not None
        server_second = int(now + self._server_offset) - self.state.origin
        return max(server_second - self._rules.late_seconds + CLOCK_DOUBT_SECONDS, 0)

    def _ack(self, through: int, now: float) -> None:
        assert self._standing is not None
        self._acked_at = now
        tally = self.tally
        self._send(
            messages.Ack(
                counted_through=through,
                durable_through=tally.durable_through,
                session_seconds=tally.seconds,
                heartbeats=tally.covered,
                usage=usage_of(self._standing),
            )
        )

    def _warn(self, standing: Standing) -> None:
        """Say which threshold the account has passed, unless it was said in this period."""
        warning, self.tally.told = warning_of(standing, self.tally.told)
        if warning is not None:
            self._send(warning)

    def _check_bounds(self, last_second: int, now: float, over_duration: bool = False) -> None:
        if over_duration or now >= self._longest_until:
            self._stop(EndReason.MAX_DURATION, last_second, now)
        elif self._standing is not None and is_exhausted(self._standing):
            self._stop(EndReason.LIMIT_REACHED, last_second, now)

    def _stop(self, reason: EndReason, last_second: int, now: float) -> None:
        assert self._standing is not None
        grace_seconds = self._standing.terms.grace(self._times.stop_grace)
        self.phase = Phase.STOPPING
        self._end_reason = reason
        self._deadline = now + grace_seconds
        self._send(messages.StopNotice(reason.value, last_second, grace_seconds))

    # Time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About twice a second."""
        if self.phase is Phase.LIVE or self.phase is Phase.STOPPING:
            if (
                now - self._asked_at >= LOOK_SECONDS
                or now - self._acked_at >= self._times.ack - ASK_EARLY_SECONDS
            ):
                self._queue()  # a sign of life, answered with the account's present standing
            if now >= self._token_deadline:
                self._fail(admission.TOKEN_EXPIRED)
            elif self.phase is Phase.STOPPING and now >= self._deadline:
                self._end(self._end_reason)
        elif self.phase is Phase.WAITING and now >= self._deadline:
            self._fail(admission.NO_START)

    # Ends -------------------------------------------------------------------------------------

    def drain(self, reconnect_after_ms: int) -> None:
        """The gateway goes away: let go of the connection once all that was heard is counted; at
        once when told so again."""
        self._reconnect_after_ms = reconnect_after_ms
        if self.phase in (Phase.WAITING, Phase.OPENING, Phase.DRAINING):
            self._send_away()
        elif self.hearing:
            self.phase = Phase.DRAINING
            self._settle_phase()

    def not_reopened(self, status: OpenStatus) -> None:
        """The ledger had lost or ended the session, and doesn't take it back."""
        self.tally.drop_pending()
        self._fail(admission.not_opened(status))

    def ended(self, state: SessionState | None) -> None:
        """The ledger's answer to `End`; None when it is away or had lost the session."""
        if self.phase is not Phase.ENDING:
            return
        if state is None:  # the count puts it back with all it lost, and the end is asked for again
            self._end_asked = False
            self._queue()
        else:
            self._stopped(state.seconds)

    def _stopped(self, seconds: int) -> None:
        self._send(messages.Stopped(self._end_reason.value, seconds))
        if self._end_reason is EndReason.LIMIT_REACHED:
            self._close(CloseCode.LIMIT_REACHED, "limit reached")
        else:
            self._close(CloseCode.NORMAL, self._end_reason.value)

    def disconnected(self) -> None:
        """The connection is gone. What was heard is still to be counted, what was to end ends."""
        self._start = None
        if self.phase is not Phase.ENDING:
            self.phase = Phase.OVER

    def _end(self, reason: EndReason) -> None:
        """Ask once more before the end, when nothing can be counted again any more."""
        self._end_reason = reason
        self.phase = Phase.ENDING
        self._queue()

    def _settle_phase(self) -> None:
        if self.tally.waiting:
            return
        if self.phase is Phase.DRAINING:
            self._send_away()
        elif self.phase is Phase.ENDING and not self._queued and not self._end_asked:
            self._end_asked = True
            self.outbox.append(End(self._end_reason))

    def _send_away(self) -> None:
        self._send(messages.Drain(self._reconnect_after_ms))
        self._close(CloseCode.DRAINING, "draining")

    def _ended_elsewhere(self, reply: Counted) -> None:
        self.tally.drop_pending()
        if self._end_asked:
            return  # by ourselves; its answer follows
        if self.phase is Phase.ENDING and reply.end_reason == self._end_reason:
            self._stopped(reply.seconds)  # by ourselves; its answer was cut off
            return
        if reply.end_reason == EndReason.ADMIN:
            self._send(messages.StopNotice(reply.end_reason, reply.highest, 0))
        self._send(messages.Stopped(reply.end_reason, reply.seconds))
        self._close(admission.close_after(reply.end_reason), reply.end_reason)

    def _queue(self) -> None:
        if not self._queued and self.state is not None:
            self._queued = True
            self.outbox.append(QUEUE)
