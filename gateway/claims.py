"""Whom a token's claims name, wherever an identity provider puts it. Pure."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.identity import DEFAULT_SCOPES, Identity, TokenRefused

MAX_ID_CHARACTERS = 255

USER_CLAIM = "sub"
# Clerk's session tokens have the second since their version 2.
ORGANIZATION_CLAIM = "org_id,o.id"
SCOPE_CLAIM = "scope"


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Each is the names to try in turn, the first that a token has is taken.

    A dot leads into a claim that is an object, unless a claim's own name has it: a namespaced
    `https://app.example.com/org_id` is one name.
    """

    user: tuple[str, ...] = (USER_CLAIM,)
    organization: tuple[str, ...] = tuple(ORGANIZATION_CLAIM.split(","))
    scope: tuple[str, ...] = (SCOPE_CLAIM,)


def names(text: str) -> tuple[str, ...]:
    """Names as a setting lists them, by comma. Raises `ValueError` when there are none."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ValueError("must name a claim, or several by comma")
    return found


def identity_of(claims: Mapping[str, Any], wanted: ClaimNames) -> Identity:
    """Whom a verified token names. Raises `TokenRefused`."""
    expires_in = _expires_in(claims["exp"])
    user = _first(claims, wanted.user)
    if user is None:
        raise TokenRefused(f"the token lacks `{wanted.user[0]}`")
    user_id = _id(user, wanted.user[0])
    organization = _first(claims, wanted.organization, but_not="")
    return Identity(
        user_id=user_id,
        organization_id=user_id
        if organization is None
        else _id(organization, wanted.organization[0]),
        scopes=_scopes(_first(claims, wanted.scope), wanted.scope[0]),
        expires_in=expires_in,
    )


def _first(claims: Mapping[str, Any], wanted: tuple[str, ...], but_not: object = None) -> object:
    found = (_at(claims, name) for name in wanted)
    return next((value for value in found if value is not None and value != but_not), None)


def _at(claims: object, name: str) -> object:
    """The claim of a name; the longest part of the name that is a claim's goes first."""
    if not isinstance(claims, Mapping):
        return None
    if name in claims:
        return claims[name]
    end = len(name)
    while (end := name.rfind(".", 0, end)) > 0:
        if name[:end] in claims:
            return _at(claims[name[:end]], name[end + 1 :])
    return None


def _id(value: object, claim: str) -> str:
    # Ids become keys and rows: Postgres' text has no NUL, and lone surrogates have no UTF-8.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARACTERS or "\0" in value:
        raise TokenRefused(f"`{claim}` is no text of 1 to {MAX_ID_CHARACTERS} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TokenRefused(f"`{claim}` is not valid Unicode") from None
    return value


def _scopes(value: object, claim: str) -> frozenset[str]:
    """Words, or a list of them (Auth0's `permissions`)."""
    if value is None:
        return DEFAULT_SCOPES
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return frozenset(value)
    raise TokenRefused(f"`{claim}` is no text, and no list of texts")


def _expires_in(expires_at: Any) -> float:
    seconds = float(expires_at) - time.time()
    if not seconds > 0:
        raise TokenRefused("the token has expired", expired=True)
    return seconds
