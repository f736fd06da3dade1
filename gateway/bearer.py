"""Who makes an HTTP request: its bearer token (RFC 6750)."""

from http import HTTPStatus

from starlette.requests import Request

from gateway.identity import Identity, TokenRefused
from gateway.problems import Problem, ProblemCode, unavailable
from gateway.tokens import KeysUnavailable, Verifier

REALM = 'Bearer realm="minute-meter"'


async def authenticate(request: Request, verifier: Verifier, scopes: tuple[str, ...]) -> Identity:
    """Whom the token names, if it has one of the scopes. Raises `Problem`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized(
            ProblemCode.TOKEN_MISSING, "`Authorization: Bearer` and a token are needed", REALM
        )
    try:
        identity = await verifier.identify(token.strip())
    except KeysUnavailable:
        raise unavailable() from None
    except TokenRefused as error:
        code = ProblemCode.TOKEN_EXPIRED if error.expired else ProblemCode.TOKEN_REFUSED
        raise _unauthorized(code, str(error), f'{REALM}, error="invalid_token"') from None
    if identity.scopes.isdisjoint(scopes):
        raise _forbidden(scopes)
    return identity


def _unauthorized(code: ProblemCode, detail: str, challenge: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, code, detail, {"www-authenticate": challenge})


def _forbidden(scopes: tuple[str, ...]) -> Problem:
    names = " or ".join(f"`{scope}`" for scope in scopes)
    challenge = f'{REALM}, error="insufficient_scope", scope="{" ".join(scopes)}"'
    return Problem(
        HTTPStatus.FORBIDDEN,
        ProblemCode.NOT_ALLOWED,
        f"scope {names} is needed",
        {"www-authenticate": challenge},
    )
