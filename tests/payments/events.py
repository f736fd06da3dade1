"""Events of Stripe, and how it signs them."""

import hashlib
import hmac
import json
import time
from itertools import count
from typing import Any

SECRET = "whsec_of_the_tests_long_enough"
ANCHOR = 1_789_000_000  # 2026-09-10 01:46:40 UTC

_numbers = count(1)


def subscription(
    name: str = "sub_1",
    customer: str = "cus_1",
    price: str = "price_pro",
    status: str = "active",
    **fields: Any,
) -> dict[str, Any]:
    """A subscription, as in the object of an event."""
    items = [{"id": "si_1", "price": {"id": price, "recurring": {"interval": "month"}}}]
    return {
        "id": name,
        "object": "subscription",
        "customer": customer,
        "status": status,
        "created": ANCHOR,
        "billing_cycle_anchor": ANCHOR,
        "metadata": {},
        "items": {"object": "list", "data": items},
        **fields,
    }


def event(
    kind: str,
    made: dict[str, Any],
    created: int | None = None,
    previous: dict[str, Any] | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """An event of an object."""
    data = {"object": made} | ({} if previous is None else {"previous_attributes": previous})
    return {
        "id": name or f"evt_{next(_numbers)}_{time.monotonic_ns()}",
        "object": "event",
        "type": kind,
        "created": int(time.time()) if created is None else created,
        "data": data,
    }


def told(
    what: str, made: dict[str, Any], created: int | None = None, **more: Any
) -> dict[str, Any]:
    """An event of a subscription that was created, updated or deleted."""
    return event(f"customer.subscription.{what}", made, created, **more)


def checkout(organization: str, customer: str | None = "cus_1", **fields: Any) -> dict[str, Any]:
    """An event of a completed checkout."""
    made = {
        "id": "cs_1",
        "object": "checkout.session",
        "customer": customer,
        "client_reference_id": organization,
        "metadata": {},
        **fields,
    }
    return event("checkout.session.completed", made)


def signed(payload: bytes, secret: str = SECRET, at: int | None = None) -> str:
    """The header `Stripe-Signature` of a payload."""
    moment = int(time.time()) if at is None else at
    text = f"{moment}.".encode() + payload
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def encoded(given: dict[str, Any]) -> bytes:
    """The payload of an event."""
    return json.dumps(given, indent=2).encode()
