"""Tokens that were checked a moment ago, so that each of many requests needn't check its anew."""

import time
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from gateway.identity import Identity

MAX_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Proof:
    """Whom a token names until it expires, in epoch seconds; and the key that proved it, with the
    id and algorithm by which the token asks for it (None of a secret, which never changes)."""

    identity: Identity
    expires_at: float
    key: Any = None
    key_name: tuple[str, str] | None = None

    def identity_now(self) -> Identity | None:
        """Whom it names; None when it has expired."""
        expires_in = self.expires_at - time.time()
        return replace(self.identity, expires_in=expires_in) if expires_in > 0 else None


class ProvenTokens:
    """The newest proofs, by the tokens' digests: tokens themselves aren't kept."""

    def __init__(self, most: int = MAX_TOKENS) -> None:
        self._most = most
        self._proofs: dict[bytes, Proof] = {}

    def __len__(self) -> int:
        return len(self._proofs)

    def find(self, token: str) -> Proof | None:
        """The proof of a token, be it outdated."""
        return self._proofs.get(_digest(token))

    def keep(self, token: str, proof: Proof) -> None:
        """Keep a proof; the oldest goes where there are too many."""
        digest = _digest(token)
        self._proofs.pop(digest, None)
        while len(self._proofs) >= self._most:
            del self._proofs[next(iter(self._proofs))]
        self._proofs[digest] = proof


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
