"""Which WebSocket implementation speaks to whom.

uvicorn hands each upgraded connection to a protocol class, and this is it: recorders, with a
heartbeat a second each, are spoken to by picows, which gives frames straight to a callback; all
others by uvicorn's own implementation, on which Starlette's routes run.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState


class Buffered(Protocol):
    """A protocol that is read into (asyncio.BufferedProtocol), as picows' is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def get_buffer(self, sizehint: int) -> memoryview: ...

    def buffer_updated(self, nbytes: int) -> None: ...


ProtocolFactory = Callable[[], Buffered]


def upgrade_protocol(routes: dict[bytes, ProtocolFactory]) -> type[asyncio.Protocol]:
    """uvicorn's `ws` class: paths in `routes` get the protocol that is named there."""

    class Upgrade(_Upgrade):
        factories = routes

    return Upgrade


class _Upgrade(asyncio.Protocol):
    factories: dict[bytes, ProtocolFactory]

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        self._others = (config, server_state, app_state)
        self._transport: asyncio.Transport | None = None
        self._inner: Buffered | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """First the handshake, from uvicorn; then what comes before the protocols are changed."""
        if self._inner is not None:
            _feed(self._inner, data)
            return
        transport = self._transport
        assert transport is not None
        factory = self.factories.get(_path(data))
        if factory is None:
            others = WebSocketsSansIOProtocol(*self._others)
            others.connection_made(transport)
            others.data_received(data)
            # uvicorn sets this protocol when the call returns; the right one follows.
            self.data_received = others.data_received  # type: ignore[method-assign]
            self.connection_lost = others.connection_lost  # type: ignore[method-assign]
            asyncio.get_running_loop().call_soon(_change, transport, others)
            return
        self._inner = inner = factory()
        inner.connection_made(transport)
        _feed(inner, data)
        asyncio.get_running_loop().call_soon(_change, transport, inner)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None:
            cast(asyncio.BufferedProtocol, self._inner).connection_lost(exc)


def _path(handshake: bytes) -> bytes:
    return handshake.split(b" ", 2)[1].partition(b"?")[0]


def _feed(protocol: Buffered, data: bytes) -> None:
    while data:
        buffer = protocol.get_buffer(len(data))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


def _change(transport: asyncio.Transport, protocol: object) -> None:
    if transport.is_closing():
        return
    transport.set_protocol(cast(asyncio.BaseProtocol, protocol))
    # uvloop reads into a buffered protocol's buffer only once reading is started anew.
    transport.pause_reading()
    transport.resume_reading()
