"""`/v1/record`: drives recorders' sessions on picows WebSockets.

A heartbeat a second from each session makes this the one path where a layer is felt: frames come
straight to a callback, and answers are written straight to the transport.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from typing import cast

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in its stubs

from gateway import actions
from gateway.actions import QUEUE, Close, Send
from gateway.counter import Counter
from gateway.identity import Identity, TokenRefused
from gateway.metrics import Metrics
from gateway.origins import may_connect
from gateway.session import RecorderSession
from gateway.tokens import KeysUnavailable, KeyUnknown, Verifier
from meter.codes import SUBPROTOCOL
from meter.ledger.types import Rules
from meter.messages import MAX_FRAME_BYTES, Ack, encoded

# For what each frame asks: an enum's member costs several times a name.
TEXT = WSMsgType.TEXT

OUTGOING = (Send, Close)

# More than this waiting for one reader, and it isn't one.
MAX_OUTGOING = 64
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
# A draining connection's seconds are waited for so long.
SETTLE_SECONDS = 2.0
MAX_RECONNECT_MS = 1000
# Keeps a peer that vanished from holding a connection: closed after at most twice this.
PING_SECONDS = 20.0
READ_BUFFER_BYTES = 2048
# A frame that is too long is answered with an error; one far too long isn't read (1009).
MAX_READ_BYTES = 4 * MAX_FRAME_BYTES

# The answer to a `refresh`; its session goes on with the token that it has.
CANT_TELL = TokenRefused("the token can't be checked now; send it again later")

# When this machine's monotonic clock was 0, by its own clock as it was when this process started.
_STARTED_AT = time.time() - time.monotonic()

# picows makes a child of a Logger for each connection; of an adapter it makes none.
_log = logging.LoggerAdapter(logging.getLogger("gateway.picows"))
_log.setLevel(logging.WARNING)


@dataclass(slots=True)
class RecordContext:
    """What all recorder connections of a gateway share."""

    counter: Counter
    verifier: Verifier
    metrics: Metrics
    times: actions.SessionTimes
    rules: Rules
    allowed_origins: frozenset[str]
    max_connections: int
    draining: bool = False


class Recorders:
    """All recorder connections of a gateway."""

    def __init__(self, context: RecordContext) -> None:
        self.context = context
        self.connections: set[RecorderConnection] = set()
        self.starting: set[RecorderConnection] = set()  # those that have no session yet

    def protocol(self) -> WSProtocol:
        """A protocol for one upgraded connection."""
        return WSProtocol(
            None,  # host and path are a client's
            None,
            False,
            self._accept,
            _log,
            True,  # an exception in a callback ends the connection
            HANDSHAKE_SECONDS,
            True,
            PING_SECONDS,
            PING_SECONDS,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            True,
            MAX_READ_BYTES,
            None,
            READ_BUFFER_BYTES,
        )

    def _accept(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        offered = ",".join(request.headers.getall("sec-websocket-protocol", ()))
        chosen = SUBPROTOCOL in [name.strip() for name in offered.split(",")]
        headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if chosen else None
        asked = request.headers
        is_welcome = may_connect(
            asked.getall("origin", ()), asked.getall("host", ()), self.context.allowed_origins
        )
        connection = RecorderConnection(self, is_welcome)
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response(headers), connection
        )

    def tick(self) -> None:
        """About once a second: connections that have no session yet, and so no other clock."""
        now = time.monotonic()
        for connection in list(self.starting):
            if connection.session.state is not None:
                self.starting.discard(connection)
            else:
                connection.session.tick(now)
                connection.perform()

    async def drain(self, seconds: float) -> None:
        """Send everybody away, spread over `seconds`; return when they are gone, or soon after."""
        self.context.draining = True
        connections = list(self.connections)
        pause = seconds / max(len(connections), 1)
        for connection in connections:
            connection.drain()
            await asyncio.sleep(pause)
        await self._wait(SETTLE_SECONDS)
        for connection in list(self.connections):
            connection.drain()  # the ledger is away: what was heard waits here, or at the client
        await self._wait(CLOSE_SECONDS)

    async def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Cut off who is left."""
        for connection in list(self.connections):
            connection.cut_off()


class RecorderConnection(WSListener):
    """One WebSocket and its session."""

    __slots__ = (
        "_context",
        "_in_text",
        "_is_welcome",
        "_outgoing",
        "_parts",
        "_paused",
        "_proving",
        "_recorders",
        "_transport",
        "_unproven",
        "connected",
        "session",
    )

    def __init__(self, recorders: Recorders, is_welcome: bool) -> None:
        context = recorders.context
        self.session = RecorderSession(
            context.times, context.rules, _next_owner(), time.monotonic()
        )
        self.connected = True
        self._recorders = recorders
        self._context = context
        self._is_welcome = is_welcome
        self._transport: WSTransport | None = None
        self._parts = bytearray()
        self._in_text = False
        self._paused = False
        self._unproven: str | None = None
        self._proving = False
        self._outgoing: list[Send | Close] = []  # short, and mostly empty

    # What picows calls ------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        context, session = self._context, self.session
        self._transport = transport
        self._recorders.connections.add(self)
        self._recorders.starting.add(self)
        context.metrics.connections.inc()
        if context.draining:
            session.drain(secrets.randbelow(MAX_RECONNECT_MS))
        elif not self._is_welcome:
            session.forbidden("this origin may not record")
        elif len(self._recorders.connections) > context.max_connections:
            session.overloaded()
        self.perform()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came."""
        if frame.msg_type is TEXT and frame.fin:
            self._in_text = False
            session = self.session
            session.frame(frame.get_payload_as_bytes())
            if session.outbox:
                self.perform()
        else:
            self._other_frame(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The peer is gone."""
        if not self.connected:
            return
        self.connected = False
        self._recorders.connections.discard(self)
        self._recorders.starting.discard(self)
        self._context.metrics.connections.dec()
        self._outgoing.clear()
        self.session.disconnected()
        self.perform()
        self._context.counter.forget(self)

    def pause_writing(self) -> None:
        """The peer reads slower than it is written to."""
        self._paused = True

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._paused = False
        while self._outgoing and not self._paused:
            self._write(self._outgoing.pop(0))

    def _other_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            self._in_text = False  # nor are its continuations
            self.session.binary_frame()
            self.perform()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._fragment(frame)

    def _fragment(self, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self._in_text = True
            self._parts.clear()
        if not self._in_text:
            return
        self._parts += frame.get_payload_as_bytes()
        if len(self._parts) > MAX_FRAME_BYTES:
            self._in_text = False
            self._parts.clear()
            self.session.oversized_frame()
        elif frame.fin:
            self._in_text = False
            self.session.frame(bytes(self._parts))
        self.perform()

    # What the gateway asks for ----------------------------------------------------------------

    def drain(self) -> None:
        """Send the client to another gateway."""
        self.session.drain(secrets.randbelow(MAX_RECONNECT_MS))
        self.perform()

    def cut_off(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.disconnect(False)

    # What the session asks for ----------------------------------------------------------------

    def perform(self) -> None:
        """Do what the session asks for."""
        session = self.session
        while asked := session.outbox:
            session.outbox = []
            for action in asked:
                if action is QUEUE:
                    self._context.counter.queue(self)
                elif isinstance(action, OUTGOING):
                    self._send(action)
                else:
                    self._ask(action)

    def _ask(self, action: actions.Action) -> None:
        counter = self._context.counter
        match action:
            case actions.Authenticate(token):
                self._authenticate(token)
            case actions.Open(request):
                counter.spawn(counter.openings.open(self, request))
            case actions.End(reason):
                counter.spawn(counter.end(self, reason))

    def _authenticate(self, token: str) -> None:
        try:
            identity = self._context.verifier.verify(token)
        except KeyUnknown:
            self._unproven = token
            if not self._proving:
                self._proving = True
                self._context.counter.spawn(self._authenticate_later())
            return
        except TokenRefused as error:
            self.session.refused(error)
        else:
            self.session.authenticated(identity, time.monotonic())
        self._unproven = None  # no older one is waited for any more

    async def _authenticate_later(self) -> None:
        """One at a time, and for the newest token: a client may send many."""
        session = self.session
        while (token := self._unproven) is not None:
            outcome = await self._outcome(token)
            if self._unproven is not token:
                continue
            self._unproven = None
            if isinstance(outcome, Identity):
                session.authenticated(outcome, time.monotonic())
            elif isinstance(outcome, TokenRefused):
                session.refused(outcome)
            elif session.opening:
                session.unavailable()
            else:
                session.refused(CANT_TELL)
        self._proving = False
        self.perform()

    async def _outcome(self, token: str) -> Identity | TokenRefused | KeysUnavailable:
        try:
            return await self._context.verifier.identify(token)
        except (TokenRefused, KeysUnavailable) as error:
            return error

    def _send(self, action: Send | Close) -> None:
        if not self.connected:
            return
        outgoing = self._outgoing
        if not self._paused:
            self._write(action)
        elif isinstance(action, Close):
            # Behind all that waits, and not waited for: a peer that doesn't read is cut off.
            while outgoing:
                self._write(outgoing.pop(0))
            self._write(action)
        elif len(outgoing) >= MAX_OUTGOING:
            outgoing.clear()
            self.session.too_slow()
        elif outgoing and _supersedes(action, outgoing[-1]):
            outgoing[-1] = action
        else:
            outgoing.append(action)

    def _write(self, action: Send | Close) -> None:
        transport = self._transport
        if transport is None or transport.is_close_frame_sent:
            return
        if isinstance(action, Send):
            transport.send(TEXT, encoded(action.message))
            return
        self._context.metrics.closes.labels(str(int(action.code))).inc()
        transport.send_close(cast(WSCloseCode, int(action.code)), action.reason.encode())
        # A peer that doesn't answer the close is cut off.
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.disconnect, False)


def _supersedes(new: Send | Close, old: Send | Close) -> bool:
    """An ack tells all that the one before it did."""
    return (
        isinstance(new, Send)
        and isinstance(new.message, Ack)
        and isinstance(old, Send)
        and isinstance(old.message, Ack)
    )


def _next_owner() -> int:
    """Marks a connection. A later one has a greater mark, on whichever gateway; below 2**53. Here
    that holds also when the machine's clock is set back."""
    return int((_STARTED_AT + time.monotonic()) * 1000) << 11 | secrets.randbits(11)
