"""Whom a token names, and which tokens name nobody."""

import base64
import hashlib
import hmac
import json
import time
from itertools import count

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import Identity, TokenRefused
from gateway.tokens import Verifier

SECRET = "a secret of the tests, long enough for every algorithm"
VERIFIER = Verifier(SECRET, issuer=None, audience=None)


def claims(**changes: object) -> dict[str, object]:
    """Good claims, changed; None leaves one out."""
    all_claims = {"sub": "alice", "exp": time.time() + 3600, **changes}
    return {name: value for name, value in all_claims.items() if value is not None}


def signed(payload: dict[str, object], secret: str = SECRET) -> str:
    return jwt.encode(payload, secret, algorithm="HS256")


def raw(header: bytes, payload: bytes, secret: str = SECRET) -> str:
    """Signed with HMAC whatever the header says."""
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def refusal(token: str, verifier: Verifier = VERIFIER) -> TokenRefused:
    """Why a token is refused. The text never repeats it."""
    with pytest.raises(TokenRefused) as refused:
        verifier.verify(token)
    text = str(refused.value)
    assert text
    assert text.isprintable()
    assert all(part not in text for part in token.split(".") if len(part) > 8)
    assert SECRET not in text
    assert refused.value.__cause__ is None
    return refused.value


def test_a_good_token_names_user_organization_and_scopes() -> None:
    identity = VERIFIER.verify(signed(claims(org_id="acme", scope="record admin")))
    assert (identity.user_id, identity.organization_id) == ("alice", "acme")
    assert identity.scopes == {"record", "admin"}
    assert 3500 < identity.expires_in <= 3600


@pytest.mark.parametrize(
    ("extra", "organization"),
    [
        ({}, "alice"),
        ({"org_id": "acme"}, "acme"),
        ({"o": {"id": "acme", "rol": "admin"}}, "acme"),
        ({"org_id": "acme", "o": {"id": "other"}}, "acme"),
        ({"o": {}}, "alice"),
        ({"o": "acme"}, "alice"),
        ({"o": ["acme"]}, "alice"),
    ],
)
def test_the_organization_is_a_claim_or_the_personal_account(
    extra: dict[str, object], organization: str
) -> None:
    assert VERIFIER.verify(signed(claims(**extra))).organization_id == organization


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        (None, {"record", "usage"}),
        ("", set()),
        ("usage", {"usage"}),
        ("  record   usage ", {"record", "usage"}),
        ("recording", {"recording"}),
    ],
)
def test_scopes_are_words_and_have_a_default(scope: str | None, scopes: set[str]) -> None:
    assert VERIFIER.verify(signed(claims(scope=scope))).scopes == scopes


def test_scopes_may_be_a_list() -> None:
    identity = VERIFIER.verify(signed(claims(scope=["record", "read minutes"])))
    assert identity.scopes == {"record", "read minutes"}
    assert VERIFIER.verify(signed(claims(scope=[]))).scopes == set()


@pytest.mark.parametrize("scope", [5, [5], [["record"]], {"record": True}])
def test_a_scope_that_is_no_text_is_refused(scope: object) -> None:
    assert "scope" in str(refusal(signed(claims(scope=scope))))


def test_an_expired_token_is_told_apart() -> None:
    error = refusal(signed(claims(exp=time.time() - 1)))
    assert error.expired
    assert "expired" in str(error)


def test_the_issuer_s_clock_may_differ_by_a_little_but_what_expired_has() -> None:
    ahead = time.time() + 3
    assert VERIFIER.verify(signed(claims(nbf=ahead, iat=int(ahead)))).user_id == "alice"
    assert "not valid yet" in str(refusal(signed(claims(iat=time.time() + 60))))
    assert refusal(signed(claims(exp=time.time() - 0.1))).expired


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(claims(), "another secret that is long enough"), "signature"),
        (signed(claims(nbf=time.time() + 6000)), "not valid yet"),
        (signed(claims(sub=None)), "lacks"),
        (signed({"sub": "alice"}), "lacks"),
        (jwt.encode(claims(), "", algorithm="none"), "algorithm"),
        (jwt.encode(claims(), SECRET, algorithm="HS384"), "algorithm"),
        (raw(b'{"alg":"RS256"}', json.dumps(claims()).encode()), "algorithm"),
        (raw(b'{"alg":"hs256"}', json.dumps(claims()).encode()), "algorithm"),
        (raw(b'{"alg":["HS256"]}', json.dumps(claims()).encode()), "algorithm"),
        (raw(b"{}", json.dumps(claims()).encode()), ""),
        (raw(b'{"alg":"HS256"}', b"[]"), ""),
        (raw(b'{"alg":"HS256"}', b"null"), ""),
        (raw(b'{"alg":"HS256"}', b'{"sub":"alice","exp":1e999}'), ""),
        (raw(b'{"alg":"HS256"}', b'{"sub":"alice","exp":NaN}'), ""),
        (raw(b'{"alg":"HS256"}', b'{"sub":"alice","exp":"soon"}'), ""),
        (raw(b'{"alg":"HS256"}', b'{"sub":"alice","exp":1' + b"0" * 400 + b"}"), ""),
        (raw(b'{"alg":"HS256"}', b'{"sub":"alice","exp":[]}'), ""),
        (raw(b'{"alg":"HS256"}', b"[" * 2000), ""),
        (raw(b"[" * 2000, b"{}"), ""),
        ("", ""),
        ("a.b.c", ""),
        ("\ud800.\ud800.\ud800", ""),
        ("\0", ""),
        ("." * 4000, ""),
        ("é.é.é", ""),
    ],
    ids=count(),  # tokens differ from run to run
)
def test_what_proves_nothing_is_refused(token: str, why: str) -> None:
    error = refusal(token)
    assert why in str(error)
    assert not error.expired


def test_a_public_key_is_no_secret() -> None:
    """RS256 turned into HS256 with the public key as the secret: refused wherever one is."""
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    forged = raw(b'{"alg":"HS256"}', json.dumps(claims()).encode(), public.decode())
    assert "signature" in str(refusal(forged))
    genuine = jwt.encode(claims(), key, algorithm="RS256")
    assert "algorithm" in str(refusal(genuine))


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    strict = Verifier(SECRET, issuer="https://issuer.example", audience="meter")
    good = claims(iss="https://issuer.example", aud="meter")
    assert strict.verify(signed(good)).user_id == "alice"
    assert strict.verify(signed({**good, "aud": ["x", "meter"]})).user_id == "alice"
    assert "audience" in str(refusal(signed({**good, "aud": "other"}), strict))
    assert "issuer" in str(refusal(signed({**good, "iss": "https://evil.example"}), strict))
    for name in ("iss", "aud"):
        without = {key: value for key, value in good.items() if key != name}
        refusal(signed(without), strict)
    assert VERIFIER.verify(signed(good)).user_id == "alice"


NO_IDS = ("a\0b", "x" * 256, "\ud800", 5, True, ["alice"], {"id": "alice"})


@pytest.mark.parametrize(
    ("claim", "bad"),
    # An organization's that is empty is none at all: the personal account.
    [("sub", ""), *((claim, bad) for claim in ("sub", "org_id") for bad in NO_IDS)],
)
def test_ids_are_text_that_can_be_stored(claim: str, bad: object) -> None:
    payload = json.dumps(claims(**{claim: bad})).encode()
    assert f"`{claim}`" in str(refusal(raw(b'{"alg":"HS256"}', payload)))


def test_ids_may_have_255_characters_of_any_script() -> None:
    name = "é" * 255
    identity = VERIFIER.verify(signed(claims(sub=name, org_id="组织")))
    assert (identity.user_id, identity.organization_id) == (name, "组织")


@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda it: raw(it, it)))
def test_nothing_but_a_refusal_comes_of_noise(token: str) -> None:
    with pytest.raises(TokenRefused):
        VERIFIER.verify(token)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iat", "org_id", "o", "scope", "aud", "iss", "jti"]),
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(max_size=4)
        | st.lists(st.text(max_size=3), max_size=2)
        | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    )
)
def test_whatever_is_claimed_is_an_identity_or_a_refusal(payload: dict[str, object]) -> None:
    try:
        identity = VERIFIER.verify(raw(b'{"alg":"HS256"}', json.dumps(payload).encode()))
    except TokenRefused:
        return
    assert isinstance(identity, Identity)
    assert identity.user_id.encode()
