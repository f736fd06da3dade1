"""Tokens of identity providers, checked with the keys at their URL."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from gateway.identity import TokenRefused
from gateway.jwks import RemoteKeys
from gateway.tokens import KeysUnavailable, KeyUnknown, Verifier
from persistence.settings import describe
from tests.gateway.provider import (
    PrivateKey,
    Provider,
    algorithm_of,
    claims,
    ec_key,
    jwk,
    providing,
    rsa_key,
    signed,
)
from tests.gateway.serving import settings

RSA, STRANGE, EC, WIDE = (
    rsa_key("first"),
    rsa_key("second"),
    ec_key("first"),
    ec_key("wide", ec.SECP384R1),
)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing(jwk(RSA, "r1"), jwk(EC, "e1")) as provider:
        yield provider


def verifier_of(provider: Provider, **checks: str) -> Verifier:
    keys = RemoteKeys(provider.url, apart_seconds=0.2, timeout_seconds=20.0)
    return Verifier(keys, issuer=checks.get("issuer"), audience=checks.get("audience"))


@pytest.fixture
async def verifier(provider: Provider) -> Verifier:
    """One that has the keys."""
    verifier = verifier_of(provider)
    await verifier.identify(signed(RSA, "r1"))
    provider.requests.clear()
    return verifier


def refusal(token: str, verifier: Verifier) -> TokenRefused:
    """Why a token is refused. The text never repeats it."""
    with pytest.raises(TokenRefused) as refused:
        verifier.verify(token)
    text = str(refused.value)
    assert text
    assert all(part not in text for part in token.split(".") if len(part) > 8)
    return refused.value


def forged(secret: bytes, **header: object) -> str:
    """Signed with HMAC, whatever the header says."""
    parts = (json.dumps(part).encode() for part in (header, claims()))
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.new(secret, body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def with_header(key: PrivateKey, **header: object) -> str:
    return jwt.PyJWS().encode(json.dumps(claims()).encode(), key, algorithm_of(key), header)


# Which tokens are good ------------------------------------------------------------------------


def test_tokens_of_both_algorithms(verifier: Verifier) -> None:
    for token in (signed(RSA, "r1", org_id="acme"), signed(EC, "e1", org_id="acme")):
        identity = verifier.verify(token)
        assert (identity.user_id, identity.organization_id) == ("alice", "acme")


@pytest.mark.parametrize("form", ["PEM", "DER", "OpenSSH", "jwk"])
@pytest.mark.parametrize("key_id", ["r1", "e1", None])
def test_a_public_key_is_no_secret(verifier: Verifier, form: str, key_id: str | None) -> None:
    key = EC if key_id == "e1" else RSA
    if form == "jwk":
        secret = json.dumps(jwk(key, key_id)).encode()
    else:
        ssh = form == "OpenSSH"
        public = serialization.PublicFormat
        secret = key.public_key().public_bytes(
            getattr(serialization.Encoding, form),
            public.OpenSSH if ssh else public.SubjectPublicKeyInfo,
        )
    header = {"alg": "HS256"} if key_id is None else {"alg": "HS256", "kid": key_id}
    assert "algorithm" in str(refusal(forged(secret, **header), verifier))
    for algorithm in ("RS256", "ES256"):
        refusal(forged(secret, **{**header, "alg": algorithm}), verifier)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(STRANGE, "r1"), "signature"),
        (signed(ec_key("second"), "e1"), "signature"),
        (signed(RSA, "e1"), "not its key's"),
        (signed(EC, "r1"), "not its key's"),
        (signed(RSA, None), "`kid`"),
        (jwt.encode(claims(), RSA, "RS256", headers={"kid": ""}), "unknown key"),
        (jwt.encode(claims(), RSA, "RS384", headers={"kid": "r1"}), "not one of"),
        (jwt.encode(claims(), RSA, "RS512", headers={"kid": "r1"}), "not one of"),
        (jwt.encode(claims(), RSA, "PS256", headers={"kid": "r1"}), "not one of"),
        (jwt.encode(claims(), WIDE, "ES384", headers={"kid": "e1"}), "not one of"),
        (jwt.encode(claims(), "", "none", headers={"kid": "r1"}), "not one of"),
        (forged(b"", alg="none", kid="r1"), "not one of"),
        (forged(b"", alg="None", kid="r1"), "not one of"),
        (forged(b"", alg=["RS256"], kid="r1"), "not one of"),
        (forged(b"", kid="r1"), "not one of"),
        (forged(b"", alg="RS256", kid=5), "not a JSON Web Token"),
        (forged(b"", alg="RS256", kid=["r1"]), "not a JSON Web Token"),
        (signed(RSA, "r1", nbf=time.time() + 6000), "not valid yet"),
        (signed(RSA, "r1", sub=None), "lacks"),
        (signed(RSA, "r1", sub=5), "`sub`"),
        (signed(RSA, "r1", exp="soon"), "not a JSON Web Token"),
        (with_header(RSA, kid="r1", crit=["exp"]), "not a JSON Web Token"),
        (with_header(RSA, kid="r1", crit=["b64"], b64=False), "not a JSON Web Token"),
        (signed(RSA, "r1", exp=None), "lacks"),
        (signed(RSA, "r1").rpartition(".")[0] + ".", "signature"),
    ],
    ids=count(),  # tokens differ from run to run
)
def test_what_proves_nothing_is_refused(verifier: Verifier, token: str, why: str) -> None:
    error = refusal(token, verifier)
    assert why in str(error)
    assert not error.expired


def test_an_expired_token_is_told_apart(verifier: Verifier) -> None:
    assert refusal(signed(EC, "e1", exp=time.time() - 1), verifier).expired


@pytest.mark.parametrize(
    "header",
    [{"jku": "URL"}, {"x5u": "URL"}, {"jwk": jwk(STRANGE, "r1")}, {"x5c": ["MIIB"]}],
    ids=lambda header: next(iter(header)),
)
async def test_keys_that_a_token_brings_are_not_looked_at(
    verifier: Verifier, provider: Provider, header: dict[str, Any]
) -> None:
    with providing(jwk(STRANGE, "r1")) as evil:
        header = {name: evil.url if value == "URL" else value for name, value in header.items()}
        token = jwt.encode(claims(), STRANGE, "RS256", headers={"kid": "r1", **header})
        with pytest.raises(TokenRefused, match="signature"):
            await verifier.identify(token)
        assert evil.requests == provider.requests == []


async def test_keys_for_other_purposes_sign_nothing(provider: Provider) -> None:
    provider.keys = [
        jwk(RSA, "enc", use="enc"),
        jwk(STRANGE, "r512", alg="RS512"),
        jwk(EC, "good"),
    ]
    verifier = verifier_of(provider)
    for token in (signed(RSA, "enc"), signed(STRANGE, "r512")):
        with pytest.raises(KeyUnknown):
            await verifier.identify(token)


async def test_issuer_and_audience_are_checked(provider: Provider) -> None:
    strict = verifier_of(provider, issuer="https://issuer.example/", audience="meter")
    good = {"iss": "https://issuer.example/", "aud": ["meter", "other"]}
    assert (await strict.identify(signed(RSA, "r1", **good))).user_id == "alice"
    audiences: tuple[object, ...] = ("other", None, [], "https://issuer.example/")
    for audience in audiences:
        assert "aud" in str(refusal(signed(EC, "e1", **{**good, "aud": audience}), strict))
    for issuer in ("https://issuer.example", None, ["https://issuer.example/"], "meter"):
        assert "iss" in str(refusal(signed(EC, "e1", **{**good, "iss": issuer}), strict))


# Keys come and go -----------------------------------------------------------------------------


async def test_a_known_key_needs_no_waiting_and_no_fetch(
    verifier: Verifier, provider: Provider
) -> None:
    provider.go_away()
    assert verifier.verify(signed(RSA, "r1")).user_id == "alice"
    with pytest.raises(TokenRefused, match="not its key's"):
        await verifier.identify(signed(EC, "r1"))
    with pytest.raises(TokenRefused, match="not one of"):
        await verifier.identify(forged(b"", alg="HS256", kid="new"))
    assert provider.requests == []


async def test_a_new_key_is_found_and_an_old_one_goes(
    verifier: Verifier, provider: Provider
) -> None:
    token = signed(STRANGE, "r2")
    with pytest.raises(KeyUnknown):
        verifier.verify(token)
    provider.keys = [jwk(STRANGE, "r2")]
    assert (await verifier.identify(token)).user_id == "alice"
    with pytest.raises(TokenRefused, match="unknown key"):
        await verifier.identify(signed(RSA, "r1"))


async def test_while_the_url_is_away_an_unknown_key_can_t_be_told(
    verifier: Verifier, provider: Provider
) -> None:
    provider.go_away()
    token = signed(STRANGE, "r2")
    with pytest.raises(KeysUnavailable) as unavailable:
        await verifier.identify(token)
    assert token not in str(unavailable.value)
    assert (await verifier.identify(signed(EC, "e1"))).user_id == "alice"


# Where providers put what ---------------------------------------------------------------------


PROVIDERS = [
    # Clerk, version 1 and 2
    ({}, {"org_id": "org_1", "org_role": "admin", "sid": "s"}, "org_1", {"record", "usage"}),
    ({}, {"v": 2, "o": {"id": "org_1", "rol": "admin"}}, "org_1", {"record", "usage"}),
    ({}, {"v": 2, "azp": "https://app.example"}, "alice", {"record", "usage"}),
    # Auth0
    ({}, {"org_id": "org_1", "scope": "openid record"}, "org_1", {"openid", "record"}),
    (
        {
            "METER_JWT_ORG_CLAIM": "https://app.example.com/org_id",
            "METER_JWT_SCOPE_CLAIM": "permissions",
        },
        {
            "https://app.example.com/org_id": "org_1",
            "org_id": "another",
            "scope": "openid admin",
            "permissions": ["record", "usage"],
        },
        "org_1",
        {"record", "usage"},
    ),
    (
        {
            "METER_JWT_ORG_CLAIM": "https://app.example.com/claims.org.id , org_id",
            "METER_JWT_SCOPE_CLAIM": "permissions,scope",
        },
        {"https://app.example.com/claims": {"org": {"id": "org_1"}}, "scope": "record"},
        "org_1",
        {"record"},
    ),
    # Supabase
    (
        {"METER_JWT_ORG_CLAIM": "app_metadata.org_id"},
        {
            "role": "authenticated",
            "app_metadata": {"provider": "email", "org_id": "org_1"},
            "user_metadata": {"org_id": "mine"},
            "org_id": "another",
        },
        "org_1",
        {"record", "usage"},
    ),
    ({"METER_JWT_ORG_CLAIM": "app_metadata.org_id"}, {"app_metadata": {}}, "alice", None),
    ({"METER_JWT_ORG_CLAIM": "app_metadata.org_id"}, {"app_metadata": "org_id"}, "alice", None),
    (
        {"METER_JWT_ORG_CLAIM": "a.b.c"},
        {"a.b": {"c": "org_1"}, "a": {"b": {"c": "x"}}},
        "org_1",
        None,
    ),
    ({"METER_JWT_USER_CLAIM": "sub"}, {"org_id": ""}, "alice", None),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "extra", "organization", "scopes"), PROVIDERS, ids=count())
async def test_claims_are_where_the_settings_say(
    provider: Provider,
    variables: dict[str, str],
    extra: dict[str, object],
    organization: str,
    scopes: set[str] | None,
) -> None:
    chosen = settings(**variables).claim_names
    verifier = Verifier(RemoteKeys(provider.url), issuer=None, audience=None, claims=chosen)
    identity = await verifier.identify(signed(EC, "e1", **extra))
    assert (identity.user_id, identity.organization_id) == ("alice", organization)
    assert identity.scopes == (scopes if scopes is not None else {"record", "usage"})


async def test_the_user_may_be_another_claim(provider: Provider) -> None:
    chosen = settings(METER_JWT_USER_CLAIM="https://app.example.com/user,sub").claim_names
    verifier = Verifier(RemoteKeys(provider.url), issuer=None, audience=None, claims=chosen)
    named = {"https://app.example.com/user": "bob"}
    assert (await verifier.identify(signed(EC, "e1", **named))).user_id == "bob"
    assert verifier.verify(signed(EC, "e1", sub=None, **named)).organization_id == "bob"
    assert verifier.verify(signed(EC, "e1")).user_id == "alice"
    assert "app.example.com/user" in str(refusal(signed(EC, "e1", sub=None), verifier))
    for bad in ("", 5, ["bob"], {"id": "bob"}):
        refusal(signed(EC, "e1", **{"https://app.example.com/user": bad}), verifier)


# Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"METER_JWT_SECRET": None}, ["METER_JWT_SECRET", "METER_JWKS_URL"]),
        ({"METER_JWKS_URL": "https://a.example"}, ["METER_JWT_SECRET", "METER_JWKS_URL"]),
        ({"METER_JWT_SECRET": "short"}, ["METER_JWT_SECRET"]),
        ({"METER_JWT_SECRET": None, "METER_JWKS_URL": ""}, ["METER_JWKS_URL"]),
        ({"METER_JWT_SECRET": None, "METER_JWKS_URL": "file:///hidden"}, ["METER_JWKS_URL"]),
        ({"METER_JWT_SECRET": None, "METER_JWKS_URL": "https://"}, ["METER_JWKS_URL"]),
        ({"METER_JWT_SECRET": None, "METER_JWKS_URL": "https://a:hidden/"}, ["METER_JWKS_URL"]),
        ({"METER_JWT_SECRET": None, "METER_JWKS_URL": "https://a:hidden@b/"}, ["METER_JWKS_URL"]),
        ({"METER_JWT_SECRET": None, "METER_JWKS_URL": "https://a/ hidden"}, ["METER_JWKS_URL"]),
        ({"METER_JWT_ORG_CLAIM": " , "}, ["METER_JWT_ORG_CLAIM"]),
        ({"METER_JWT_USER_CLAIM": ""}, ["METER_JWT_USER_CLAIM"]),
        ({"METER_JWT_SCOPE_CLAIM": ""}, ["METER_JWT_SCOPE_CLAIM"]),
        ({"METER_JWT_ISSUER": ""}, ["METER_JWT_ISSUER"]),
        ({"METER_JWT_AUDIENCE": ""}, ["METER_JWT_AUDIENCE"]),
        ({"METER_JWKS_REFRESH_SECONDS": "0"}, ["METER_JWKS_REFRESH_SECONDS"]),
    ],
    ids=count(),
)
def test_bad_settings_are_named(variables: dict[str, str | None], named: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**variables)
    text = describe(refused.value)
    assert all(name in text for name in named)
    assert "hidden" not in text


@pytest.mark.parametrize("url", ["https://a.example/jwks?key=hidden", "http://127.0.0.1:1/k"])
def test_the_url_of_the_keys_is_not_shown(url: str) -> None:
    chosen = settings(METER_JWT_SECRET=None, METER_JWKS_URL=url)
    assert chosen.jwks_url is not None
    assert url not in repr(chosen)
