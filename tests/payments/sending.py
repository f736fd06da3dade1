"""Sends events to a gateway, as Stripe does."""

from typing import Any

import httpx

from tests.payments.events import encoded, signed


async def send(
    client: httpx.AsyncClient, event: dict[str, Any], **options: Any
) -> tuple[int, str | None]:
    """An event with its signature (or another one, in `header`): the status, and the outcome or
    the code of the problem."""
    payload = encoded(event)
    header = options["header"] if "header" in options else signed(payload, **options)
    headers = {} if header is None else {"stripe-signature": header}
    answer = await client.post("/webhooks/stripe", content=payload, headers=headers)
    body = answer.json()
    return answer.status_code, body.get("outcome") or body.get("code")
