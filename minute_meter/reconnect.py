"""When to come back after a connection was lost, and when a token has to be renewed. Pure."""

from collections.abc import Callable

import jwt

from meter.codes import CloseCode

BASE_SECONDS = 0.5
CAP_SECONDS = 20.0

REFRESH_AHEAD_SECONDS = 60.0
REFRESH_AT_LEAST_SECONDS = 5.0


class Backoff:
    """Exponential delays with full jitter: after a gateway died, its clients come back spread out.

    `random` gives numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._attempts = 0

    def next_seconds(self) -> float:
        """How long to wait before the next attempt."""
        ceiling: float = min(CAP_SECONDS, BASE_SECONDS * 2 ** min(self._attempts, 16))
        self._attempts += 1
        return self._random() * ceiling

    def reset(self) -> None:
        """A connection has proved good."""
        self._attempts = 0


def may_reconnect(code: int, *, renewable: bool) -> bool:
    """Whether a client comes back after this close code. An expired token that cannot be renewed
    would only be refused again."""
    if code == CloseCode.TOKEN_EXPIRED:
        return renewable
    return not 4500 <= code < 5000


class Renewal:
    """When to fetch a fresh token: a quarter of the old one's time remains, a minute at most."""

    def __init__(self, *, renewable: bool) -> None:
        self._renewable = renewable
        self._expiry: float | None = None
        self._due_at: float | None = None

    def use(self, token: str) -> None:
        """This token is the present one. Its signature is the server's to check."""
        self._expiry = _expiry(token) if self._renewable else None
        self._due_at = None

    def plan(self, epoch: float | None, now: float) -> None:
        """Set the time by the server's clock (epoch seconds) and the local one (monotonic)."""
        if self._expiry is not None and epoch is not None:
            remaining = self._expiry - epoch
            ahead = min(REFRESH_AHEAD_SECONDS, remaining / 4)
            # A token may come out of a cache that has no newer one yet.
            self._due_at = now + max(REFRESH_AT_LEAST_SECONDS, remaining - ahead)

    def due(self, now: float) -> bool:
        """Whether the time has come. True once, then not for a while: the fetching may fail."""
        if self._due_at is None or now < self._due_at:
            return False
        self._due_at = now + REFRESH_AT_LEAST_SECONDS
        return True


def _expiry(token: str) -> float | None:
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    expiry = claims.get("exp")
    return float(expiry) if isinstance(expiry, int | float) else None
