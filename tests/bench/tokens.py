"""Tokens of the bench's recorders: HS256, spread over a hundred organizations."""

import time

import jwt

ORGANIZATIONS = 100
LIFETIME_SECONDS = 3600


def organization_name(session_number: int) -> str:
    """Return the organization of the session with this number."""
    return f"bench-org-{session_number % ORGANIZATIONS}"


def signed_token(secret: str, organization: str, user: str) -> str:
    """Return a token that lets `user` of `organization` record."""
    claims = {
        "sub": user,
        "org_id": organization,
        "scope": "record usage",
        "exp": int(time.time()) + LIFETIME_SECONDS,
    }
    return jwt.encode(claims, secret, algorithm="HS256")
