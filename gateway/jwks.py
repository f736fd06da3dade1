"""An identity provider's public keys, from its JSON Web Key Set (RFC 7517).

Looking up a known key waits for nothing. The set is fetched again from time to time, and sooner
when a token names a key that isn't in it; what was fetched last stays while the URL is away.
"""

import asyncio
import http.client
import logging
import random
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256")
REFRESH_SECONDS = 300.0
# Two fetches are at least so far apart, whatever tokens name.
APART_SECONDS = 5.0
MAX_RETRY_SECONDS = 30.0
TIMEOUT_SECONDS = 5.0
# A thread whose sockets time out ends by itself; it is waited for so much longer.
_THREAD_SECONDS = 1.0
MAX_BYTES = 256 * 1024
_CHUNK_BYTES = 16 * 1024
_MIN_RSA_BITS = 2048  # RFC 7518, section 3.3

PublicKey = RSAPublicKey | EllipticCurvePublicKey
# By key id and algorithm: ids are unique only among keys of one type (RFC 7517, section 4.5).
KeySet = Mapping[tuple[str, str], PublicKey]
Result = TypeVar("Result")


class KeysUnavailable(Exception):
    """The keys can't be had now. The text says why, without the URL."""


def parse(document: bytes) -> KeySet:
    """The keys that signatures may be checked with; others in the set are left out.

    Raises `KeysUnavailable` when there are none.
    """
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise KeysUnavailable("the answer is not JSON") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    keys: dict[tuple[str, str], PublicKey] = {}
    for each in listed if isinstance(listed, list) else ():
        if (parsed := _parsed(each)) is not None:
            keys.setdefault(*parsed)
    if not keys:
        raise KeysUnavailable("the answer has no key for signatures by RS256 or ES256")
    return keys


def _parsed(entry: object) -> tuple[tuple[str, str], PublicKey] | None:
    if not isinstance(entry, dict):
        return None
    match entry:
        case {"kid": str(kid), "kty": "RSA", "n": str(n), "e": str(e)}:
            algorithm, public = "RS256", {"kty": "RSA", "n": n, "e": e}
        case {"kid": str(kid), "kty": "EC", "crv": "P-256", "x": str(x), "y": str(y)}:
            algorithm, public = "ES256", {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        case _:
            return None
    key = _public_key(public, algorithm) if _verifies(entry, algorithm) else None
    return None if key is None else ((kid, algorithm), key)


def _verifies(entry: Mapping[str, Any], algorithm: str) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig"
        and entry.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )


def _public_key(public: dict[str, Any], algorithm: str) -> PublicKey | None:
    try:
        key = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey):
        return key if key.key_size >= _MIN_RSA_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey) else None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keys come from the URL that was set, and from no other."""

    def redirect_request(self, *_: object) -> None:
        return None


def fetch(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> KeySet:
    """Get the keys; blocks. Raises `KeysUnavailable`."""
    headers = {"Accept": "application/json", "User-Agent": "minute-meter"}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_NoRedirects)
    deadline = time.monotonic() + timeout_seconds
    try:
        with opener.open(request, timeout=timeout_seconds) as response:
            if response.status != 200:
                raise KeysUnavailable(f"HTTP {response.status}")
            return parse(_body(response, deadline))
    except urllib.error.HTTPError as error:
        error.close()
        raise KeysUnavailable(f"HTTP {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise KeysUnavailable(type(cause).__name__) from None


def _body(response: http.client.HTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BYTES:
            raise KeysUnavailable(f"the answer is longer than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise KeysUnavailable("the answer takes too long")
    return bytes(body)


class RemoteKeys:
    """The keys at a URL. `run` keeps them fresh; without it they are fetched when asked for."""

    algorithms = ALGORITHMS

    def __init__(
        self,
        url: str,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        apart_seconds: float = APART_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._refresh_seconds = refresh_seconds
        self._apart_seconds = apart_seconds
        self._timeout_seconds = timeout_seconds
        self._keys: KeySet = {}
        self._ids: frozenset[str] = frozenset()
        self._begun_at = float("-inf")
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None
        self._outcome: Future[Any] | None = None

    @property
    def available(self) -> bool:
        """Whether there are keys, be they as old as the URL is away."""
        return bool(self._keys)

    def knows(self, key_id: str) -> bool:
        """Whether a key has this id."""
        return key_id in self._ids

    def find(self, key_id: str, algorithm: str) -> PublicKey | None:
        """The key for an id and an algorithm."""
        return self._keys.get((key_id, algorithm))

    async def look_for(self, key_id: str) -> None:
        """Have the set fetched, unless it has this key or has been fetched since the call began.

        However many ask, it is fetched once in `apart_seconds`; they wait for it together.
        Raises `KeysUnavailable`, and at once where that was the last answer, not long ago.
        """
        asked_at = time.monotonic()
        while not self.knows(key_id) and self._begun_at < asked_at:
            if self._failed and asked_at - self._begun_at < self._apart_seconds:
                raise KeysUnavailable("the last fetch failed")
            await self._renew()

    async def run(self) -> None:
        """Fetch the keys now, and again for ever."""
        failures = 0
        while True:
            try:
                await self._renew()
            except KeysUnavailable as error:
                logger.warning("the keys at METER_JWKS_URL can't be had: %s", error)
                pause = min(2.0**failures, MAX_RETRY_SECONDS, self._refresh_seconds)
                failures = min(failures + 1, 10)
            else:
                pause, failures = self._refresh_seconds, 0
            await asyncio.sleep(pause * random.uniform(0.9, 1.0))

    async def _renew(self) -> None:
        """The next fetch, or the one under way; a caller that leaves doesn't end it."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(_heard)
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        await asyncio.sleep(self._begun_at + self._apart_seconds - time.monotonic())
        self._begun_at = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_seconds + _THREAD_SECONDS):
                keys = await self._in_thread(lambda: fetch(self._url, self._timeout_seconds))
        except Exception as error:
            self._failed = True
            raise _unavailable(error) from None
        self._failed = False
        self._keys = keys
        self._ids = frozenset(key_id for key_id, _ in keys)

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        """One thread at a time, and no process waits for it at its end."""
        # Not whether it lives: it does for a moment after its answer is taken.
        if self._outcome is not None and not self._outcome.done():
            raise KeysUnavailable("the last fetch hasn't ended")
        outcome: Future[Result] = Future()
        self._outcome = outcome
        outcome.set_running_or_notify_cancel()  # whoever waits may leave; the thread goes on

        def work() -> None:
            try:
                result = call()
            except Exception as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        threading.Thread(target=work, name="jwks", daemon=True).start()
        return await asyncio.wrap_future(outcome)


def _unavailable(error: Exception) -> KeysUnavailable:
    if isinstance(error, KeysUnavailable):
        return error
    if isinstance(error, TimeoutError):
        return KeysUnavailable("no answer in time")
    # Where it happened; its text may have the URL.
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the keys could not be fetched: %s\n%s", type(error).__name__, place)
    return KeysUnavailable(type(error).__name__)


def _heard(task: asyncio.Task[None]) -> None:
    """Whoever waited has its exception; nobody may have."""
    if not task.cancelled():
        task.exception()
