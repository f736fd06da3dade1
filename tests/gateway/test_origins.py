"""Which pages may open WebSockets, by the headers that browsers send."""

import pytest

from gateway.origins import may_connect

ALLOWED = {"https://good.example"}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://localhost:8000", "LOCALHOST:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://meter.example", "meter.example"),
        ("https://meter.example", "meter.example:443"),
        ("http://meter.example", "meter.example:80"),
    ],
)
def test_the_gateways_own_pages_may_whether_tls_ends_before_it_or_not(
    origin: str, host: str
) -> None:
    assert may_connect([origin], [host], set())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3000", "localhost:8000"),
        ("http://localhost", "localhost:8000"),
        ("https://meter.example", "meter.example:80"),
        ("https://meter.example.evil", "meter.example"),
        ("https://evil.example", "meter.example"),
        ("https://meter.example@evil.example", "meter.example"),
        ("https://evil.example", "meter.example@evil.example"),
        ("https://meter.example", "meter.example/"),
        ("null", "null"),
        ("", ""),
        ("https://", ""),
        ("file://", "meter.example"),
        ("chrome-extension://meter.example", "meter.example"),
        ("https://meter.example:port", "meter.example:port"),
        ("https://[::1", "[::1"),
        ("https://meter.example:99999", "meter.example:99999"),
    ],
)
def test_pages_of_other_places_may_not(origin: str, host: str) -> None:
    assert not may_connect([origin], [host], ALLOWED)


def test_allowed_origins_may_and_programs_without_one() -> None:
    assert may_connect(["https://good.example"], ["meter.example"], ALLOWED)
    assert may_connect([], ["meter.example"], ALLOWED)
    assert not may_connect(["https://good.example"], ["meter.example"], set())


def test_every_one_of_several_origins_has_to_be_allowed_and_the_host_is_one() -> None:
    own, good, evil = "https://meter.example", "https://good.example", "https://evil.example"
    assert may_connect([own, good], ["meter.example"], ALLOWED)
    assert not may_connect([good, evil], ["meter.example"], ALLOWED)
    for hosts in ([], ["meter.example", "meter.example"], ["evil.example", "meter.example"]):
        assert not may_connect([own], hosts, set())
