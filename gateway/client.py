"""The client's side of a recorder's session: what it is told, and what is put up with. Pure."""

from enum import Enum, auto

from gateway import admission
from gateway.actions import Action, Close, Send
from gateway.admission import Refusal
from meter import messages
from meter.codes import CloseCode, ErrorCode
from meter.messages import MessageError, ServerMessage

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


# For what each heartbeat and each reply asks: an enum's member costs several times a name.
LIVE, STOPPING, OVER = Phase.LIVE, Phase.STOPPING, Phase.OVER


class ClientSide:
    """Fills `outbox`, and nothing more once the close is in it."""

    __slots__ = ("_bad_frames", "outbox", "phase")

    def __init__(self) -> None:
        self.outbox: list[Action] = []
        self.phase = Phase.WAITING
        self._bad_frames = 0

    # Why a connection may not go on -----------------------------------------------------------

    def binary_frame(self) -> None:
        """A binary frame came."""
        self._bad_frame(MessageError(ErrorCode.BAD_MESSAGE, "messages are text frames"))

    def oversized_frame(self) -> None:
        """A message came that is longer than any may be."""
        detail = f"a frame holds at most {messages.MAX_FRAME_BYTES} bytes"
        self._fail(Refusal(ErrorCode.BAD_MESSAGE, detail, CloseCode.BAD_MESSAGE))

    def superseded(self) -> None:
        """Another connection speaks for the session now."""
        self._fail(admission.TAKEN_OVER)

    def overloaded(self) -> None:
        """There is no room for this connection."""
        self._fail(admission.OVERLOADED)

    def too_slow(self) -> None:
        """The peer doesn't read what it is sent."""
        self._fail(admission.TOO_SLOW)

    def forbidden(self, detail: str) -> None:
        """This connection may not be: its origin isn't one of the allowed."""
        self._fail(Refusal(ErrorCode.NOT_ALLOWED, detail, CloseCode.NOT_ALLOWED))

    # Into the outbox --------------------------------------------------------------------------

    def _bad_frame(self, error: MessageError) -> None:
        self._bad_frames += 1
        if self._bad_frames > MAX_BAD_FRAMES:
            self._fail(Refusal(ErrorCode.BAD_MESSAGE, error.detail, CloseCode.BAD_MESSAGE))
        else:
            self._error(error.code, error.detail)

    def _send(self, message: ServerMessage) -> None:
        if self.phase is not Phase.OVER:
            self.outbox.append(Send(message))

    def _refused(self, code: ErrorCode) -> None:
        self._error(code, "refused, and not counted")

    def _error(self, code: ErrorCode, detail: str) -> None:
        self._send(messages.Error(code.value, detail, fatal=False))

    def _fail(self, refusal: Refusal) -> None:
        self._send(messages.Error(refusal.code.value, refusal.detail, fatal=True))
        self._close(refusal.close, refusal.code.value)

    def _close(self, code: CloseCode, reason: str) -> None:
        if self.phase is not Phase.OVER:
            self.phase = Phase.OVER
            self.outbox.append(Close(code, reason))
