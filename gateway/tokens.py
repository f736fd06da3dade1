"""Verifies JSON Web Tokens (RFC 7519). Tokens and secrets never reach a log or a message."""

import time
from typing import Any

import jwt

from gateway.identity import DEFAULT_SCOPES, Identity, TokenRefused

ALGORITHMS = ("HS256",)
MAX_ID_CHARACTERS = 255

# What a client is told, most specific first; PyJWT's own texts may change and may quote claims.
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is by another issuer"),
    (jwt.InvalidAlgorithmError, f"the token's algorithm is not one of {', '.join(ALGORITHMS)}"),
    (jwt.MissingRequiredClaimError, "the token lacks `sub` or `exp`"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
    (jwt.PyJWTError, "not a JSON Web Token"),
)


class Verifier:
    """Checks tokens against one secret, and the issuer and audience where they are set."""

    def __init__(self, secret: str, *, issuer: str | None, audience: str | None) -> None:
        self._secret = secret
        self._issuer = issuer
        self._audience = audience

    def verify(self, token: str) -> Identity:
        """Whom the token names. Raises `TokenRefused`."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=list(ALGORITHMS),
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp", "sub"],
                    "verify_aud": self._audience is not None,
                },
            )
        except jwt.PyJWTError as error:
            reason = next(text for kind, text in _REASONS if isinstance(error, kind))
            expired = isinstance(error, jwt.ExpiredSignatureError)
            raise TokenRefused(reason, expired=expired) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            # What PyJWT and the JSON parser below it let through of hostile tokens.
            raise TokenRefused(_REASONS[-1][1]) from None
        return _identity(claims)


def _identity(claims: dict[str, Any]) -> Identity:
    user_id = _id(claims["sub"], "sub")
    nested = claims.get("o")
    organization = claims.get("org_id") or (nested.get("id") if isinstance(nested, dict) else None)
    return Identity(
        user_id=user_id,
        organization_id=_id(organization, "org_id") if organization is not None else user_id,
        scopes=_scopes(claims.get("scope")),
        expires_in=float(claims["exp"]) - time.time(),
    )


def _id(value: object, claim: str) -> str:
    # Ids become keys and rows: Postgres' text has no NUL, and lone surrogates have no UTF-8.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARACTERS or "\0" in value:
        raise TokenRefused(f"`{claim}` is no text of 1 to {MAX_ID_CHARACTERS} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TokenRefused(f"`{claim}` is not valid Unicode") from None
    return value


def _scopes(value: object) -> frozenset[str]:
    if value is None:
        return DEFAULT_SCOPES
    if not isinstance(value, str):
        raise TokenRefused("`scope` is no text")
    return frozenset(value.split())
