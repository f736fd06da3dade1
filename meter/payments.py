"""What the payment provider, Stripe, tells and is told: events of subscriptions, and overage
minutes. Pure.

Bounds are those of Stripe's API: an identifier of a meter event is known again for 24 hours at
least, and what an event tells may be 35 days old and 5 minutes ahead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

RETRY_FIRST_SECONDS = 2.0
RETRY_MOST_SECONDS = 3600.0

_Id = Annotated[str, Meta(min_length=1, max_length=255)]
_EpochSecond = Annotated[int, Meta(ge=0, le=253_402_300_799)]


class EventOutcome(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    UNMATCHED = "unmatched"
    STALE = "stale"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"


class SignatureRefused(Exception):
    """An event that isn't signed with the secret, or was signed too long ago."""


class EventMalformed(Exception):
    """A signed event that doesn't have what it should."""


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """An event: what happened to which object, when (epoch seconds), and what of the object had
    been otherwise before."""

    id: str
    type: str
    created: int
    object: Mapping[str, Any]
    previous: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OverageReport:
    """Overage minutes of a customer, as they are sent. `occurred_at` is in epoch seconds."""

    identifier: str
    customer_id: str
    event_name: str
    minutes: int
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A report that wasn't confirmed. `in_doubt`: it may have been taken all the same. `general`:
    others would fare no better now. `retry_after_seconds` is what the provider asked for."""

    reason: str
    in_doubt: bool
    general: bool
    retry_after_seconds: float = 0.0


def decode_event(payload: bytes) -> PaymentEvent:
    """An event out of what was sent. Raises `EventMalformed`."""
    try:
        event = msgspec.json.decode(payload, type=_Event)
        if b"\\u0000" in payload:  # which Postgres has no place for
            raise msgspec.ValidationError("a null character")
        if event.type.startswith("customer.subscription."):
            msgspec.convert(event.data.object, _Subscription)
        elif event.type == "checkout.session.completed":
            msgspec.convert(event.data.object, _CheckoutSession)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise EventMalformed("an event lacks what it should have") from None
    return PaymentEvent(
        event.id,
        event.type,
        event.created,
        event.data.object,
        event.data.previous_attributes or {},
    )


def pause_seconds(attempts: int, asked_seconds: float = 0.0) -> float:
    """How long to wait after so many attempts: twice as long each time, and at least as long as the
    provider asked for."""
    own = RETRY_FIRST_SECONDS * 2.0 ** min(attempts - 1, 20)
    return min(max(own, asked_seconds), RETRY_MOST_SECONDS)


class _Data(msgspec.Struct):
    object: dict[str, Any]
    previous_attributes: dict[str, Any] | None = None


class _Event(msgspec.Struct):
    id: _Id
    type: _Id
    created: _EpochSecond
    data: _Data


class _Recurring(msgspec.Struct):
    interval: str


class _Price(msgspec.Struct):
    id: _Id
    recurring: _Recurring | None = None


class _Item(msgspec.Struct):
    price: _Price


class _Items(msgspec.Struct):
    data: list[_Item]


class _Subscription(msgspec.Struct):
    id: _Id
    customer: _Id
    status: _Id
    created: _EpochSecond
    items: _Items
    billing_cycle_anchor: _EpochSecond | None = None
    metadata: dict[str, str] | None = None


class _CheckoutSession(msgspec.Struct):
    id: _Id
    customer: _Id | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None
