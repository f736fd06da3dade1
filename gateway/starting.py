"""How a recorder's session begins: `start`, its token, and newer tokens later. Pure."""

from gateway import admission
from gateway.actions import Authenticate, Open, SessionTimes
from gateway.client import ClientSide, Phase
from gateway.identity import Identity, TokenRefused
from meter import messages
from meter.codes import ErrorCode
from meter.ledger.types import OpenRequest, SessionKey, SessionState
from meter.messages import MessageError


class Starting(ClientSide):
    """From `start` to what the ledger is asked to open, and whose token the connection has."""

    __slots__ = (
        "_start",
        "_times",
        "_token_deadline",
        "claimed_origin",
        "identity",
        "owner",
        "request",
        "state",
    )

    def __init__(self, times: SessionTimes, owner: int) -> None:
        super().__init__()
        self.identity: Identity | None = None
        self.request: OpenRequest | None = None
        self.claimed_origin: int | None = None
        self.state: SessionState | None = None
        self.owner = owner
        self._times = times
        self._start: messages.Start | None = None
        self._token_deadline = float("inf")

    @property
    def opening(self) -> bool:
        """Whether the client waits for its session to be opened."""
        return self.phase is Phase.OPENING

    @property
    def key(self) -> SessionKey:
        """Names the session, once it is opened."""
        assert self.state is not None
        return self.state.key

    def _on_start(self, message: messages.Start) -> None:
        if self.phase is not Phase.WAITING:
            raise MessageError(ErrorCode.ALREADY_STARTED, "this connection has its session")
        self._start = admission.checked(message)
        self.phase = Phase.OPENING
        self.outbox.append(Authenticate(message.token))

    def _on_refresh(self, message: messages.Refresh) -> None:
        self._require_started()
        self.outbox.append(Authenticate(message.token))

    def _require_started(self) -> None:
        if self.state is None:
            raise MessageError(ErrorCode.NOT_STARTED, "`start` comes first")

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

    def unavailable(self) -> None:
        """The session could not be opened now."""
        if self.phase is Phase.OPENING:
            self._fail(admission.UNAVAILABLE)
