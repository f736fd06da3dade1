"""Verifies JSON Web Tokens (RFC 7519). Tokens and secrets never reach a log or a message."""

import time
from typing import Any

import jwt

from gateway.claims import ClaimNames, identity_of
from gateway.identity import Identity, TokenRefused
from gateway.jwks import KeysUnavailable, RemoteKeys
from gateway.proven import Proof, ProvenTokens

__all__ = ["KeyUnknown", "KeysUnavailable", "Verifier"]

# Issuers' clocks differ from ours by so much, at `nbf` and `iat`. What has expired has expired.
CLOCK_SKEW_SECONDS = 5

_NO_TOKEN = "not a JSON Web Token"
# What a client is told, most specific first; PyJWT's own texts may change and may quote claims.
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is by another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks `exp`, or an `iss` or `aud` that is wanted"),
    (jwt.exceptions.InvalidSubjectError, "the token's `sub` is no text"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
    (jwt.PyJWTError, _NO_TOKEN),
)


class KeyUnknown(TokenRefused):
    """No key is known by the token's key id; a fetch may bring it."""

    def __init__(self, key_id: str) -> None:
        super().__init__("the token is signed with an unknown key")
        self.key_id = key_id


class Verifier:
    """Checks tokens against one secret (HS256) or one key set (RS256, ES256), never both; and the
    issuer and audience where they are set."""

    def __init__(
        self,
        keys: str | RemoteKeys,
        *,
        issuer: str | None,
        audience: str | None,
        claims: ClaimNames | None = None,
    ) -> None:
        self._keys = keys
        self._algorithms = ("HS256",) if isinstance(keys, str) else keys.algorithms
        self._issuer = issuer
        self._audience = audience
        self._claims = claims or ClaimNames()
        self._proven = ProvenTokens()

    @property
    def remote_keys(self) -> RemoteKeys | None:
        """The key set, where keys come from a URL."""
        return None if isinstance(self._keys, str) else self._keys

    def verify(self, token: str) -> Identity:
        """Whom the token names, at once.

        Raises `TokenRefused`; as `KeyUnknown` when `identify` may still find the key.
        """
        try:
            return self._verified(token)
        except jwt.PyJWTError as error:
            reason = next(text for kind, text in _REASONS if isinstance(error, kind))
            expired = isinstance(error, jwt.ExpiredSignatureError)
            raise TokenRefused(reason, expired=expired) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            # What PyJWT and the JSON parser below it let through of hostile tokens.
            raise TokenRefused(_NO_TOKEN) from None

    async def identify(self, token: str) -> Identity:
        """Whom the token names; has the keys fetched when its key isn't known.

        Raises `TokenRefused`, or `KeysUnavailable` when that can't be told now.
        """
        try:
            return self.verify(token)
        except KeyUnknown as error:
            assert not isinstance(self._keys, str)
            await self._keys.look_for(error.key_id)
        return self.verify(token)

    def _verified(self, token: str) -> Identity:
        proof = self._proven.find(token)
        if proof is not None and self._holds(proof) and (known := proof.identity_now()) is not None:
            return known
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            known_algorithms = ", ".join(self._algorithms)
            raise TokenRefused(f"the token's algorithm is not one of {known_algorithms}")
        key = self._key(header, algorithm)
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["exp"], "verify_aud": self._audience is not None},
        )
        identity = identity_of(claims, self._claims)
        name = None if isinstance(self._keys, str) else (header["kid"], algorithm)
        self._proven.keep(
            token, Proof(identity, time.time() + identity.expires_in, key if name else None, name)
        )
        return identity

    def _holds(self, proof: Proof) -> bool:
        """Whether the key that proved it is still one: any fetch of the keys makes all anew."""
        if isinstance(self._keys, str):
            return True
        return proof.key_name is not None and self._keys.find(*proof.key_name) is proof.key

    def _key(self, header: dict[str, Any], algorithm: str) -> Any:
        if isinstance(self._keys, str):
            return self._keys
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise TokenRefused("the token's header lacks `kid`")
        key = self._keys.find(key_id, algorithm)
        if key is None:
            if self._keys.knows(key_id):
                raise TokenRefused("the token's algorithm is not its key's")
            raise KeyUnknown(key_id)
        return key
