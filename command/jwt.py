"""Signs tokens for the dev server."""

import time
from dataclasses import dataclass
from typing import Any

DEFAULT_SCOPE = "record usage"


@dataclass(frozen=True)
class TokenClaims:
    """Who may do what. Without an organization it is the user's personal account."""

    user: str
    organization: str | None
    scope: str
    expires_in_seconds: int


def sign(claims: TokenClaims, secret: str) -> str:
    """An HS256 JWT (RFC 7519), valid from now on."""
    import jwt  # takes a while to import, and few commands sign anything

    now = int(time.time())
    payload: dict[str, Any] = {
        "sub": claims.user,
        "scope": claims.scope,
        "iat": now,
        "exp": now + claims.expires_in_seconds,
    }
    if claims.organization is not None:
        payload["org_id"] = claims.organization
    return jwt.encode(payload, secret, algorithm="HS256")
