"""An identity provider on a real socket: signs tokens, and serves its public keys."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PATH = "/.well-known/jwks.json"


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One a name: they take a while to make."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """One a name."""
    return ec.generate_private_key(curve())


def algorithm_of(key: PrivateKey) -> str:
    """What a key signs with."""
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def jwk(key: PrivateKey, key_id: str | None, **changes: object) -> dict[str, Any]:
    """The public key as a key set has it; None leaves a member out."""
    if isinstance(key, rsa.RSAPrivateKey):
        members = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        members.pop("key_ops", None)
    else:
        members = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    everything = {**members, "use": "sig", "alg": algorithm_of(key), "kid": key_id, **changes}
    return {name: value for name, value in everything.items() if value is not None}


def claims(**changes: object) -> dict[str, object]:
    """Good claims, changed; None leaves one out."""
    everything = {"sub": "alice", "exp": time.time() + 3600, **changes}
    return {name: value for name, value in everything.items() if value is not None}


def signed(key: PrivateKey, key_id: str | None, **changes: object) -> str:
    """A token with good claims, changed."""
    headers = None if key_id is None else {"kid": key_id}
    payload = json.dumps(claims(**changes)).encode()  # claims may be of any type
    return jwt.PyJWS().encode(payload, key, algorithm_of(key), headers)


class Provider:
    """What its URL answers can be changed at any time."""

    def __init__(self) -> None:
        self.keys: list[object] = []
        self.status = 200
        self.body: bytes | None = None
        self.headers: dict[str, str] = {}
        self.pause_seconds = 0.0
        self.requests: list[tuple[float, str]] = []
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.come_back()

    @property
    def url(self) -> str:
        """Of the key set."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def come_back(self) -> None:
        """Listen, at the same port as before."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.01,), daemon=True).start()

    def go_away(self) -> None:
        """Connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append((time.monotonic(), request.path))
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        time.sleep(self.pause_seconds)
        with suppress(OSError):  # it was too slow, or too long, for who asked
            request.send_response(self.status)
            for name, value in self.headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)


@contextmanager
def providing(*keys: object) -> Iterator[Provider]:
    """A provider with these keys, until the end of the block."""
    provider = Provider()
    provider.keys = list(keys)
    try:
        yield provider
    finally:
        provider.go_away()
