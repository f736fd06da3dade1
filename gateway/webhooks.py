"""`POST /webhooks/stripe`: events of the payment provider, signed instead of sent with a token."""

from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.http.openapi import Json, refusals
from gateway.http.operations import Tag
from gateway.metrics import Metrics
from gateway.problems import Problem, ProblemCode, refuse, unavailable
from meter.ledger.types import StorageUnavailable
from meter.payments import EventMalformed, EventOutcome, SignatureRefused

PATH = "/webhooks/stripe"
# A subscription with many items has some tens of kilobytes.
MAX_EVENT_BYTES = 512 * 1024


_DESCRIBED: Json = {
    "operationId": "takeStripeEvent",
    "tags": [Tag.PAYMENTS.value],
    "summary": "Take an event of Stripe's",
    "description": "Known by its signature, and by its id: the same one again changes nothing. It"
    " takes neither a token nor an `Idempotency-Key`.",
    "security": [],
    "parameters": [
        {
            "name": "Stripe-Signature",
            "in": "header",
            "required": True,
            "description": "Of the body, with the endpoint's secret.",
            "schema": {"type": "string"},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
    "responses": {
        "200": {
            "description": "It was taken, and what became of it",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["outcome"],
                        "properties": {"outcome": {"enum": [each.value for each in EventOutcome]}},
                    }
                }
            },
        },
        **refusals(
            (
                ProblemCode.SIGNATURE_REFUSED,
                ProblemCode.BAD_REQUEST,
                ProblemCode.BODY_TOO_LARGE,
                ProblemCode.INVALID_BODY,
                ProblemCode.INTERNAL_ERROR,
                ProblemCode.STORAGE_UNAVAILABLE,
            )
        ),
    },
}


class PaymentEvents(Protocol):
    """What the endpoint needs; `persistence.payments` implements it."""

    async def take(self, payload: bytes, signature: str | None) -> EventOutcome:
        """Take a signed event, once. Raises `SignatureRefused`, `EventMalformed`, and
        `StorageUnavailable` when it can't be taken now."""

    async def aclose(self) -> None:
        """Let go of what it holds."""


class Webhooks:
    """Answers 200 to every event that is signed and was taken, whatever became of it: a second one
    would change nothing. All else is told as a problem, and the provider tries again."""

    def __init__(self, events: PaymentEvents, metrics: Metrics) -> None:
        self._events = events
        self._metrics = metrics

    def route(self) -> Route:
        """The one path."""
        return Route(PATH, self._take, methods=["POST"])

    def described(self) -> dict[str, Json]:
        """The path in `/openapi.json`."""
        return {PATH: {"post": _DESCRIBED}}

    async def _take(self, request: Request) -> Response:
        payload = await _read(request)
        try:
            outcome = await self._events.take(payload, request.headers.get("stripe-signature"))
        except SignatureRefused:
            self._metrics.webhooks.labels("refused").inc()
            detail = "`Stripe-Signature` is missing, not of this body and secret, or too old"
            raise refuse(ProblemCode.SIGNATURE_REFUSED, detail) from None
        except EventMalformed:
            self._metrics.webhooks.labels("refused").inc()
            raise refuse(ProblemCode.INVALID_BODY, "the event lacks what it should have") from None
        except StorageUnavailable:
            raise unavailable() from None
        self._metrics.webhooks.labels(outcome.value).inc()
        return JSONResponse({"outcome": outcome.value}, headers={"cache-control": "no-store"})


async def _read(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_EVENT_BYTES:
                raise refuse(
                    ProblemCode.BODY_TOO_LARGE, f"an event holds at most {MAX_EVENT_BYTES} bytes"
                )
            parts.append(part)
    except ClientDisconnect:
        raise _cut_off() from None
    return b"".join(parts)


def _cut_off() -> Problem:
    return refuse(ProblemCode.BAD_REQUEST, "the body was cut off")
