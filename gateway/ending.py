"""How a recorder's session ends: by its recorder, its limit, an operator, or elsewhere. Pure."""

from gateway import admission
from gateway.actions import QUEUE, End, SessionTimes
from gateway.client import LIVE, OVER, STOPPING, Phase
from gateway.starting import Starting
from gateway.tally import Tally
from meter import messages
from meter.codes import CloseCode, EndReason
from meter.ledger.types import Counted, OpenStatus, SessionState


class Ending(Starting):
    """Nothing ends before all that was heard is counted."""

    __slots__ = ("_end_asked", "_end_reason", "_queued", "_reconnect_after_ms", "tally")

    def __init__(self, times: SessionTimes, owner: int) -> None:
        super().__init__(times, owner)
        self.tally = Tally()
        self._queued = False
        self._end_asked = False
        self._end_reason = EndReason.STOPPED
        self._reconnect_after_ms = 0

    @property
    def hearing(self) -> bool:
        """Whether heartbeats are taken."""
        return self.phase is LIVE or self.phase is STOPPING

    @property
    def unfinished(self) -> bool:
        """Whether something is left to do once the connection is gone: to count, or to end."""
        return self.tally.waiting or self.phase is Phase.ENDING

    @property
    def finished(self) -> bool:
        """Whether nothing will come of it any more."""
        return self.phase is OVER and not self.tally.waiting

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
        """The ledger's answer to `End`; None when it is away or had lost the session, or some of
        it."""
        if self.phase is not Phase.ENDING:
            return
        if state is None:  # the count puts it back with all it lost, and the end is asked for again
            self._end_asked = False
            self._queue()
        else:
            self._stopped(state.seconds, state.durable_through)

    def _stopped(self, seconds: int, durable_through: int) -> None:
        self._send(messages.Stopped(self._end_reason.value, seconds, durable_through))
        if self._end_reason is EndReason.LIMIT_REACHED:
            self._close(CloseCode.LIMIT_REACHED, "limit reached")
        else:
            self._close(CloseCode.NORMAL, self._end_reason.value)

    def disconnected(self) -> None:
        """The connection is gone. What was heard is still to be counted, what was to end ends."""
        self._start = None
        if self.phase is not Phase.ENDING:
            self.phase = OVER

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

    def ends_by(self, reason: EndReason) -> bool:
        """The ledger says that the session has ended so. Whether that was by ourselves, and the
        answer to it was cut off: then all of it is counted, and `ended` is still to come."""
        if self.phase is not Phase.ENDING or self._end_asked or reason != self._end_reason:
            return False
        self.tally.drop_pending()
        self._end_asked = True
        return True

    def began_anew(self, *, is_others: bool) -> None:
        """The ledger has the session with another beginning: what is numbered by the former one
        can't be counted. Its client comes back, and is told of the new one, unless it has: then a
        later connection speaks for the session."""
        self.tally.forget()
        self._fail(admission.TAKEN_OVER if is_others else admission.BEGAN_ANEW)

    def _ended_elsewhere(self, reply: Counted) -> None:
        self.tally.drop_pending()
        durable_through = self.tally.believed(reply.durable_through, reply.seconds)
        if self._end_asked:
            return  # by ourselves; its answer follows
        if self.phase is Phase.ENDING and reply.end_reason == self._end_reason:
            self._stopped(reply.seconds, durable_through)
            return
        if reply.end_reason == EndReason.ADMIN:
            self._send(messages.StopNotice(reply.end_reason, reply.highest, 0))
        self._send(messages.Stopped(reply.end_reason, reply.seconds, durable_through))
        self._close(admission.close_after(reply.end_reason), reply.end_reason)

    def _queue(self) -> None:
        if not self._queued and self.state is not None:
            self._queued = True
            self.outbox.append(QUEUE)
