"""What Stripe tells is read with care, and is told again after growing pauses."""

import json

import pytest

from meter.payments import EventMalformed, decode_event, pause_seconds
from tests.payments.events import checkout, encoded, subscription, told


def test_an_event_has_its_object_and_what_was_before() -> None:
    made = told("updated", subscription(), 1000, previous={"status": "trialing"})
    event = decode_event(encoded(made))
    assert (event.id, event.type) == (made["id"], "customer.subscription.updated")
    assert (event.created, event.object["id"]) == (1000, "sub_1")
    assert event.previous == {"status": "trialing"}


def test_a_checkout_without_a_customer_is_one_all_the_same() -> None:
    event = decode_event(encoded(checkout("acme", None)))
    assert event.object["customer"] is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"id": "evt_1"}',
        b"[" * 100_000,
        json.dumps(told("created", {})).encode(),
        json.dumps(told("created", subscription(billing_cycle_anchor="noon"))).encode(),
        json.dumps(told("created", subscription(metadata={"note": "\0"}))).encode(),
        json.dumps(checkout("acme", "")).encode(),
    ],
)
def test_what_is_no_event_is_told_from_one(payload: bytes) -> None:
    with pytest.raises(EventMalformed):
        decode_event(payload)


def test_pauses_double_and_are_at_least_what_was_asked_for_and_an_hour_at_most() -> None:
    assert [pause_seconds(attempts) for attempts in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert pause_seconds(1, 60) == 60
    assert pause_seconds(9, 60) == 512
    assert pause_seconds(500) == pause_seconds(1, 86_400) == 3600
