"""Tokens that were checked before: they prove no more, and no longer, than they did then."""

import time
from collections.abc import Iterator

import jwt
import pytest

from gateway.identity import Identity, TokenRefused
from gateway.jwks import RemoteKeys
from gateway.proven import Proof, ProvenTokens
from gateway.tokens import Verifier
from tests.gateway.provider import Provider, claims, jwk, providing, rsa_key, signed

SECRET = "a secret of the tests, long enough for every algorithm"


def hs256(**changes: object) -> str:
    return jwt.encode(claims(**changes), SECRET, algorithm="HS256")


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(SECRET, issuer=None, audience=None)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were checked in full."""
    seen: list[str] = []
    decode = jwt.decode

    def noting(token: str, *arguments: object, **options: object) -> object:
        seen.append(token)
        return decode(token, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(jwt, "decode", noting)
    return seen


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing(jwk(rsa_key("first"), "r1")) as provider:
        yield provider


def test_a_token_is_checked_in_full_once_and_its_time_runs_on(
    verifier: Verifier, decoded: list[str]
) -> None:
    token = hs256(org_id="acme")
    first = verifier.verify(token)
    time.sleep(0.01)
    again = verifier.verify(token)
    assert decoded == [token]
    assert again.is_same_user(first)
    assert again.scopes == first.scopes
    assert 3590 < again.expires_in < first.expires_in


def test_a_known_token_is_refused_as_soon_as_it_has_expired(verifier: Verifier) -> None:
    expires_at = time.time() + 0.6
    token = hs256(exp=expires_at)
    verifier.verify(token)
    time.sleep(max(0.0, expires_at + 0.05 - time.time()))
    with pytest.raises(TokenRefused, match="expired") as refused:
        verifier.verify(token)
    assert refused.value.expired


def test_what_is_refused_is_not_kept_and_a_changed_token_is_another(
    verifier: Verifier, decoded: list[str]
) -> None:
    good = hs256()
    verifier.verify(good)
    forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    for _ in range(2):
        with pytest.raises(TokenRefused):
            verifier.verify(forged)
    assert decoded == [good, forged, forged]


async def test_a_known_token_of_a_key_that_was_removed_is_refused(provider: Provider) -> None:
    keys = RemoteKeys(provider.url, apart_seconds=0.0, timeout_seconds=20.0)
    verifier = Verifier(keys, issuer=None, audience=None)
    token = signed(rsa_key("first"), "r1")
    await verifier.identify(token)
    assert verifier.verify(token).user_id == "alice"
    provider.keys = [jwk(rsa_key("second"), "r2")]
    await verifier.identify(signed(rsa_key("second"), "r2"))
    with pytest.raises(TokenRefused, match="unknown key"):
        verifier.verify(token)


async def test_a_known_token_is_refused_when_its_key_s_id_is_another_key_s(
    provider: Provider,
) -> None:
    keys = RemoteKeys(provider.url, apart_seconds=0.0, timeout_seconds=20.0)
    verifier = Verifier(keys, issuer=None, audience=None)
    token = signed(rsa_key("first"), "r1")
    await verifier.identify(token)
    provider.keys = [jwk(rsa_key("second"), "r1"), jwk(rsa_key("third"), "r3")]
    await verifier.identify(signed(rsa_key("third"), "r3"))
    with pytest.raises(TokenRefused, match="signature"):
        verifier.verify(token)


def test_so_many_are_kept_and_the_oldest_goes() -> None:
    proofs = ProvenTokens(most=2)
    proof = Proof(Identity("alice", "acme", frozenset(), 60.0), time.time() + 60)
    for token in ("one", "two", "two", "three"):
        proofs.keep(token, proof)
    assert len(proofs) == 2
    assert proofs.find("one") is None
    assert proofs.find("two") is proofs.find("three") is proof
