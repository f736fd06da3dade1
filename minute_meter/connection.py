"""Opens WebSockets to the server, and translates the library's errors."""

from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from meter.codes import SUBPROTOCOL
from minute_meter.errors import HandshakeRefusedError, InvalidUrlError
from minute_meter.wire import MAX_SERVER_FRAME_BYTES

DEFAULT_PATH = "/v1/record"
CLOSE_TIMEOUT_SECONDS = 3.0
PING_SECONDS = 20.0

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
# RFC 9110: request timeout, too early, too many requests. They pass.
_PASSING_STATUS = frozenset({408, 425, 429})


def record_url(url: str) -> str:
    """The WebSocket address for a server's address. Raises `InvalidUrlError`."""
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise InvalidUrlError(url)
    path = parts.path if parts.path.strip("/") else DEFAULT_PATH
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


async def connect(url: str, timeout_seconds: float) -> ClientConnection:
    """An open connection. Raises OSError (TimeoutError is one) for what may pass, and
    `HandshakeRefusedError` for an answer that asking again won't change."""
    try:
        socket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,  # frames of fifty bytes
            max_size=MAX_SERVER_FRAME_BYTES,
            open_timeout=timeout_seconds,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if 400 <= status < 500 and status not in _PASSING_STATUS:
            raise HandshakeRefusedError(url, f"HTTP {status}") from error
        raise ConnectionError(f"HTTP {status}") from error
    except (WebSocketException, EOFError) as error:
        raise ConnectionError(str(error)) from error
    if socket.subprotocol != SUBPROTOCOL:
        await socket.close()
        raise HandshakeRefusedError(url, f"the server doesn't speak {SUBPROTOCOL}")
    return socket
