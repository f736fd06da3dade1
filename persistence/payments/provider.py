"""Stripe's own library, and what can go wrong with it: the one place that imports it."""

import json
import logging

import stripe

from meter.payments import NotTaken, OverageReport, SignatureRefused

TIMEOUT_SECONDS = 20.0
# How long ago an event may have been signed, and how far ahead.
TOLERANCE_SECONDS = 300

_ALREADY_THERE = "event already exists with identifier"
_ALREADY_THERE_CODE = "duplicate_meter_event"
# The request didn't leave this machine.
_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
_TRY_LATER = frozenset({401, 403, 409, 429})


def check_signature(payload: bytes, header: str | None, secret: str) -> None:
    """Whether an event was signed with the secret, lately. Raises `SignatureRefused`."""
    try:
        stripe.WebhookSignature.verify_header(payload, header, secret, TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError):
        raise SignatureRefused("the signature isn't one of this event") from None


class Provider:
    """Sends reports with a secret key. Each is tried once: when to try again is the caller's."""

    def __init__(
        self, secret_key: str, api_url: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        # Both say at each request that there is one.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._http = stripe.HTTPXClient(timeout=timeout_seconds)
        self._client = stripe.StripeClient(
            secret_key,
            base_addresses={"api": api_url.rstrip("/")},
            http_client=self._http,
            max_network_retries=0,
        )

    async def send(self, report: OverageReport) -> NotTaken | None:
        """Report minutes; None when Stripe has them, be it from before.

        No key of the whole request goes with it but one of the library's, new each time: Stripe
        would answer a second request by the same key as it did the first, even where that failed.
        The identifier is what it knows a report by.
        """
        try:
            await self._client.v1.billing.meter_events.create_async(
                {
                    "event_name": report.event_name,
                    "identifier": report.identifier,
                    "timestamp": report.occurred_at,
                    "payload": {
                        "stripe_customer_id": report.customer_id,
                        "value": str(report.minutes),
                    },
                }
            )
        except stripe.StripeError as error:
            return None if _is_there_already(error) else _not_taken(error)
        except (json.JSONDecodeError, UnicodeDecodeError):
            return NotTaken("an answer that isn't Stripe's", in_doubt=True, general=True)
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]


def _is_there_already(error: stripe.StripeError) -> bool:
    if not isinstance(error, stripe.InvalidRequestError):
        return False
    return error.code == _ALREADY_THERE_CODE or _ALREADY_THERE in str(error.user_message or "")


def _not_taken(error: stripe.StripeError) -> NotTaken:
    status = error.http_status
    if status is None:
        cause = type(error.__cause__).__name__
        return NotTaken(f"no answer ({cause})", in_doubt=cause not in _NEVER_SENT, general=True)
    reason = f"{status} {error.code or type(error).__name__}"
    if isinstance(error, stripe.InvalidRequestError) and status == 400:
        reason = f"{reason}: {str(error.user_message or '')[:200]}"
    answered = 400 <= status < 500
    return NotTaken(
        reason,
        in_doubt=not answered,
        general=not answered or status in _TRY_LATER,
        retry_after_seconds=_retry_after(error),
    )


def _retry_after(error: stripe.StripeError) -> float:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    try:
        return max(float(headers.get("retry-after", 0)), 0.0)
    except ValueError:  # a date, which Stripe doesn't send
        return 0.0
