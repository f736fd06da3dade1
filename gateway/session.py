"""The recorder's session as a state machine: a frame, a reply or a tick in, actions out. Pure.

It reads no clock and waits for nothing: `now` is a monotonic time in seconds, and what has to be
done (send, close, ask the ledger) is put into `outbox` for a driver to do. So it runs the same on
any WebSocket implementation.
"""

from gateway import admission
from gateway.actions import SessionTimes
from gateway.client import LIVE, OVER, STOPPING, Phase
from gateway.ending import Ending
from gateway.pace import REFRESH_FRAMES, Pace
from gateway.tally import Tally
from meter import messages
from meter.codes import EndReason, ErrorCode
from meter.ledger.types import (
    Counted,
    CountStatus,
    Opened,
    OpenStatus,
    Rules,
    Standing,
)
from meter.messages import MessageError
from meter.seconds import Range
from meter.thresholds import Told
from meter.usage import is_exhausted, is_limited, next_warning_at, usage_of, warning_of

# A session that says nothing asks for the account's standing this often, so that a stop or a new
# limit reaches it within two seconds; one with a heartbeat a second learns of it anyway.
LOOK_SECONDS = 1.2

# An ack goes out with the first reply that comes so long before the longest time between acks:
# the next reply may come as much later as a session waits for one, and a while for asking.
ACK_EARLY_SECONDS = LOOK_SECONDS + 0.5

# The server's clock is known to about this much; in doubt a second is too late.
CLOCK_DOUBT_SECONDS = 2

# For what each reply asks: an enum's member costs several times a name.
COUNTED = CountStatus.COUNTED


class RecorderSession(Ending):
    """One connection's session. After each call, a driver does what is in `outbox`."""

    __slots__ = (
        "_ack_due_seconds",
        "_acked_at",
        "_deadline",
        "_deaf",
        "_horizon",
        "_longest_until",
        "_pace",
        "_rules",
        "_server_offset",
        "_standing",
        "_warn_at",
        "answered_at",
    )

    def __init__(self, times: SessionTimes, rules: Rules, owner: int, now: float) -> None:
        super().__init__(times, owner)
        self.answered_at = now  # when the ledger's last answer came
        self._rules = rules
        self._horizon = rules.max_session_seconds + rules.future_seconds
        self._ack_due_seconds = times.ack - ACK_EARLY_SECONDS
        self._deadline = now + times.start_timeout
        self._pace = Pace(now)
        self._deaf = False
        self._acked_at = float("-inf")
        self._longest_until = float("inf")
        self._standing: Standing | None = None
        self._warn_at = 0.0  # used seconds: below, as the limits are, there is no warning to give
        self._server_offset = 0.0

    # What the client says ---------------------------------------------------------------------

    def frame(self, data: str | bytes) -> None:
        """A text frame came."""
        if self.phase is OVER:
            return
        try:
            message = messages.decode(data)
            if type(message) is messages.Heartbeat:
                self._heartbeat(message)
            elif type(message) is messages.Start:
                self._on_start(message)
            elif type(message) is messages.Refresh:
                self._pace.others += REFRESH_FRAMES
                self._on_refresh(message)
            else:
                self._on_stop()
        except MessageError as error:
            self._bad_frame(error)

    def _on_stop(self) -> None:
        self._require_started()
        # A heartbeat before it that wasn't heard would be lost: the client brings both again.
        if self.phase is not Phase.ENDING and not self._deaf:
            self._end(self._end_reason if self.phase is STOPPING else EndReason.STOPPED)

    def _heartbeat(self, message: messages.Heartbeat) -> None:
        if not (self.phase is LIVE or self.phase is STOPPING):
            self._require_started()
            self._deaf = True  # after `stop`, or while draining: the client will bring it again
            self._pace.others += 1
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
        self.answered_at = now
        self.phase = LIVE
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

    # Counting ---------------------------------------------------------------------------------

    def take(self) -> tuple[Range, ...]:
        """Ranges to count now; the next call is `counted` or `not_counted`."""
        self._queued = False
        return self.tally.take()

    def look(self) -> None:
        """Ask for the account's standing now, as it may have changed for all its sessions."""
        if self.phase is LIVE:
            self._queue()

    def not_counted(self) -> None:
        """What was taken could not be counted: it waits on, and whoever took it takes it again."""
        self._queued = True
        self.tally.put_back()

    def inherit(self, other: Tally) -> None:
        """Take over what another connection of this session has heard and not seen durable."""
        self.tally.inherit(other)
        self._warn_at = 0.0  # it has another's warnings now
        if self.tally.waiting:
            self._queue()

    def counted(self, reply: Counted, now: float, moment: int) -> None:
        """The ledger's answer for what was taken. Unless it says `COUNTED`, this is the end. If it
        calls some early, `moment` is the epoch second by this machine's clock."""
        if reply.status is not COUNTED:
            self._ended_elsewhere(reply)
            return
        standing = reply.standing
        assert standing is not None
        assert self.state is not None
        limits_changed = self._heed(standing)
        self.answered_at = now
        tally = self.tally
        earliest = self._earliest(now) if reply.too_late else 0
        asked = tally.counted(reply, earliest, moment - self.state.origin)
        if asked != reply.new:
            self._say_refused(reply)
        if tally.pending.mask:
            self._queue()
        if self.phase is OVER or (tally.heartbeats >= self._pace.look_at and self._floods(now)):
            return
        if reply.owner > self.owner:  # an older one may be opened late, after its client gave it up
            self.superseded()
            return
        through = tally.counted_through()
        durable = min(reply.durable_through, through)
        if tally.doubted:
            durable = tally.believed(durable, reply.seconds)
        news = durable > tally.durable_through or asked > 1 or limits_changed
        tally.durable_through = durable
        if news or now - self._acked_at >= self._ack_due_seconds:
            self._ack(through, now)
        if self.phase is LIVE:
            self._weigh(standing, reply, now)
        else:
            self._settle_phase()

    def _weigh(self, standing: Standing, reply: Counted, now: float) -> None:
        if is_limited(standing):
            self._warn(standing)
            self._check_bounds(reply.highest, now, reply.over_duration > 0)
        elif reply.over_duration or now >= self._longest_until:
            self._stop(EndReason.MAX_DURATION, reply.highest, now)

    def _heed(self, standing: Standing) -> bool:
        """How the account stands now; whether its limits or its plan have changed."""
        before, self._standing = self._standing, standing
        if before is None or standing.terms is not before.terms:
            assert self.state is not None
            longest = standing.terms.longest(self._rules.max_session_seconds)
            self._longest_until = self.state.origin + longest - self._server_offset
        elif standing.limit == before.limit and standing.member_limit == before.member_limit:
            if standing.period != before.period:
                self._warn_at = 0.0
            return False
        self._warn_at = 0.0
        return True

    def _say_refused(self, reply: Counted) -> None:
        if reply.in_future and not self.tally.kept_early:
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
        if standing.used < self._warn_at:
            return
        self._warn_at = next_warning_at(standing)
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
        self.phase = STOPPING
        self._end_reason = reason
        self._deadline = now + grace_seconds
        self._send(messages.StopNotice(reason.value, last_second, grace_seconds))

    # Time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Now and then: as soon as the ledger's last answer is `LOOK_SECONDS` old; twice a second
        while it isn't live; and every few seconds in any case."""
        self._floods(now)
        if self.phase is LIVE or self.phase is STOPPING:
            if now - self.answered_at >= LOOK_SECONDS:
                self._queue()  # a sign of life, answered with the account's present standing
            if now >= self._token_deadline:
                self._fail(admission.TOKEN_EXPIRED)
            elif self.phase is STOPPING and now >= self._deadline:
                self._end(self._end_reason)
        elif self.phase is Phase.WAITING and now >= self._deadline:
            self._fail(admission.NO_START)

    def _floods(self, now: float) -> bool:
        """Whether too many frames come that bring nothing new: that ends the connection."""
        tally = self.tally
        seconds = tally.seconds + len(tally.pending)
        floods = not self._pace.allows(tally.heartbeats, seconds, now)
        if floods and self.phase is not OVER:
            self._fail(admission.TOO_MANY_FRAMES)
        return floods
