"""`/v1/record`: drives a recorder's session on an ASGI WebSocket.

Plain ASGI instead of Starlette's WebSocket: a heartbeat a second from each session makes this the
one path where a layer is felt.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from gateway import actions
from gateway.counter import Counter
from gateway.identity import TokenRefused
from gateway.metrics import Metrics
from gateway.session import RecorderSession
from gateway.tokens import Verifier
from meter.codes import SUBPROTOCOL, CloseCode
from meter.ledger.types import Rules
from meter.messages import Ack, encode

# More than this waiting for one reader, and it isn't one.
MAX_OUTGOING = 64


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


class RecordEndpoint:
    """The ASGI application at `/v1/record`."""

    def __init__(self, context: RecordContext) -> None:
        self._context = context
        self._connections: set[RecorderConnection] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = RecorderConnection(self._context, send)
        self._connections.add(connection)
        self._context.metrics.connections.inc()
        try:
            await self._serve(connection, scope, receive)
        finally:
            self._connections.discard(connection)
            self._context.metrics.connections.dec()
            connection.lost()

    async def _serve(
        self, connection: "RecorderConnection", scope: Scope, receive: Receive
    ) -> None:
        await receive()  # websocket.connect
        await connection.accept(scope["subprotocols"])
        session = connection.session
        if self._context.draining:
            session.drain(0)
        elif not origin_allowed(scope, self._context.allowed_origins):
            session.forbidden("this origin may not record")
        elif len(self._connections) > self._context.max_connections:
            session.overloaded()
        connection.perform()
        while True:
            event = await receive()
            text = event.get("text")
            if text is None:
                if event["type"] == "websocket.disconnect":
                    return
                text = event["bytes"]
            session.frame(text, time.monotonic())
            if session.outbox:
                connection.perform()

    def tick(self) -> None:
        """About once a second: connections that have no session yet, and so no other clock."""
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.session.state is None:
                connection.session.tick(now)
                connection.perform()

    async def drain(self, seconds: float) -> None:
        """Send everybody away, spread over `seconds`; return when they are gone, or soon after."""
        self._context.draining = True
        connections = list(self._connections)
        pause = seconds / max(len(connections), 1)
        for connection in connections:
            connection.session.drain(secrets.randbelow(1000))
            connection.perform()
            await asyncio.sleep(pause)
        deadline = time.monotonic() + 2.0
        while self._connections and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


class RecorderConnection:
    """One WebSocket and its session."""

    def __init__(self, context: RecordContext, send: Send) -> None:
        self.session = RecorderSession(
            context.times, context.rules, secrets.randbits(53) | 1, time.monotonic()
        )
        self.connected = True
        self._context = context
        self._send = send
        self._outgoing: deque[actions.Send | actions.Close] = deque()
        self._writing = False

    async def accept(self, offered: Collection[str]) -> None:
        """Answer the handshake, with the subprotocol where it was offered."""
        chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
        await self._send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})

    def perform(self) -> None:
        """Do what the session asks for."""
        session, counter = self.session, self._context.counter
        while session.outbox:
            asked, session.outbox = session.outbox, []
            for action in asked:
                match action:
                    case actions.Queue():
                        counter.queue(self)
                    case actions.Send() | actions.Close():
                        self._write(action)
                    case actions.Authenticate(token):
                        self._authenticate(token)
                    case actions.Open(request):
                        counter.spawn(counter.open(self, request))
                    case actions.End(reason):
                        counter.spawn(counter.end(self, reason))

    def lost(self) -> None:
        """The peer is gone."""
        self.connected = False
        self._outgoing.clear()
        self.session.disconnected()
        self._context.counter.forget(self)

    def _authenticate(self, token: str) -> None:
        try:
            identity = self._context.verifier.verify(token)
        except TokenRefused as error:
            self.session.refused(error)
        else:
            self.session.authenticated(identity, time.monotonic())

    def _write(self, action: actions.Send | actions.Close) -> None:
        if not self.connected:
            return
        outgoing = self._outgoing
        if isinstance(action, actions.Send) and outgoing and _supersedes(action, outgoing[-1]):
            outgoing.pop()
        elif len(outgoing) >= MAX_OUTGOING:
            outgoing.clear()
            action = actions.Close(CloseCode.TOO_SLOW, "too slow")
        outgoing.append(action)
        if not self._writing:
            self._writing = True
            self._context.counter.spawn(self._drain_outgoing())

    async def _drain_outgoing(self) -> None:
        try:
            while self._outgoing:
                await self._send(self._event(self._outgoing.popleft()))
        except OSError:
            self._outgoing.clear()  # the reading side sees the end, and ends the connection
        finally:
            self._writing = False

    def _event(self, action: actions.Send | actions.Close) -> Message:
        if isinstance(action, actions.Send):
            return {"type": "websocket.send", "text": encode(action.message)}
        self._context.metrics.closes.labels(str(int(action.code))).inc()
        return {"type": "websocket.close", "code": int(action.code), "reason": action.reason}


def _supersedes(new: actions.Send, old: actions.Send | actions.Close) -> bool:
    """An ack tells all that the one before it did."""
    return (
        isinstance(new.message, Ack)
        and isinstance(old, actions.Send)
        and isinstance(old.message, Ack)
    )


def origin_allowed(scope: Scope, allowed: frozenset[str]) -> bool:
    """Browsers send an origin, and it has to be one of the allowed; other programs send none."""
    return all(
        value.decode("latin-1") in allowed for name, value in scope["headers"] if name == b"origin"
    )
