"""How a session comes to its end: who wants it, what its recorder still has to say, and how it
ended. Pure."""

from dataclasses import replace

from meter.codes import CLOSE_OF_END, CloseCode, EndReason
from meter.messages import Error, StopNotice, Stopped
from minute_meter.ends import End


class Stopping:
    """Of one session, over any number of connections.

    `asked`: the program wants the end. `notice`: the server does, and counts nothing after the
    notice's last second.
    """

    def __init__(self) -> None:
        self.asked = False
        self.notice: StopNotice | None = None
        self._time_told = False  # since the program asked
        self._sent = False  # on the present connection
        self._ever_sent = False
        self._last_error: Error | None = None

    @property
    def begun(self) -> bool:
        """Whether nothing more is to be recorded."""
        return self.asked or self.notice is not None

    @property
    def last_wanted(self) -> int | None:
        """The last second that the server takes; None while it takes all."""
        return None if self.notice is None else self.notice.last_second

    @property
    def to_send(self) -> bool:
        """Whether the server is still to be told `stop`, once it has what was recorded."""
        return self.asked and not self._sent

    @property
    def may_ask_time(self) -> bool:
        """Whether seconds that don't seem due are worth another connection before they are given
        up: the server's clock may have been put right since it told the time."""
        return self.notice is None and not self._time_told

    # What happens --------------------------------------------------------------------------------

    def connected(self) -> None:
        """A connection stands, and nothing was said on it."""
        self._last_error = None

    def started(self) -> None:
        """The server has told the time."""
        self._time_told = self.asked

    def sent(self) -> None:
        """`stop` goes out."""
        self._sent = self._ever_sent = True

    def failed(self, error: Error) -> None:
        """The server says why it closes the connection next."""
        self._last_error = error

    def lost(self) -> None:
        """The connection is gone: the next one is to be told `stop`, too."""
        self._sent = False

    # How it ended --------------------------------------------------------------------------------

    def confirmed(self, message: Stopped) -> End:
        """The server said that it is over."""
        code = CLOSE_OF_END.get(message.reason, CloseCode.NORMAL)  # which the server sends next
        return End(
            message.reason, int(code), message.session_seconds, confirmed=True, announced=self.begun
        )

    def closed(self, code: int, reason: str, session_seconds: int) -> End:
        """The connection was closed for good. `session_seconds`: as far as the server said."""
        end = End(reason or "closed", int(code), session_seconds, confirmed=False, announced=False)
        if code == CloseCode.SESSION_ENDED and self._ever_sent:
            # `stopped` was lost with the connection that it was sent on.
            return replace(end, reason=str(EndReason.STOPPED), announced=True)
        if self.notice is not None:
            return replace(end, reason=self.notice.reason, announced=True)
        if self._last_error is not None:
            return replace(end, reason=self._last_error.code, detail=self._last_error.message)
        return end
