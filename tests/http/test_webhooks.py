"""`POST /webhooks/stripe`: who may tell, how much, and how often."""

import asyncio
import logging
import time
from typing import Any

import pytest

from tests.http.conftest import Service
from tests.payments.events import SECRET, encoded, signed, subscription, told
from tests.payments.sending import send

pytestmark = pytest.mark.integration


async def plan_of(service: Service, organization: str = "acme") -> str | None:
    rows = await service.sql(
        "SELECT plan_id FROM user_subscriptions WHERE organization_id = $1 AND ended_at IS NULL",
        organization,
    )
    return rows[0]["plan_id"] if rows else None


@pytest.fixture(autouse=True)
async def prices(paid_service: Service) -> None:
    operator = paid_service.operator
    body = {"stripe_price_id": "price_pro"}
    answer = await operator.ask("PATCH", "/api/admin/plans/professional", body)
    assert answer.json()["stripe_price_id"] == "price_pro"
    made = {"id": "acme", "stripe_customer_id": "cus_1"}
    answer = await operator.ask("POST", "/api/admin/organizations", made)
    assert answer.json()["stripe_customer_id"] == "cus_1"


async def test_a_signed_event_is_taken_and_the_same_one_again_changes_nothing(
    paid_service: Service,
) -> None:
    event = told("created", subscription())
    assert await send(paid_service.client, event) == (200, "applied")
    assert await plan_of(paid_service) == "professional"
    assert await send(paid_service.client, event) == (200, "duplicate")
    (subscribed,) = (
        await paid_service.operator.get("/api/admin/subscriptions", organization_id="acme")
    )["items"]
    assert subscribed["stripe_subscription_id"] == "sub_1"


async def test_the_same_event_from_many_sides_at_once_is_taken_once(paid_service: Service) -> None:
    event = told("created", subscription())
    answers = await asyncio.gather(*(send(paid_service.client, event) for _ in range(8)))
    outcomes = sorted(str(outcome) for _, outcome in answers)
    assert outcomes == ["applied", *["duplicate"] * 7]


async def test_changes_at_once_and_in_any_order_leave_the_newest(paid_service: Service) -> None:
    await paid_service.sql(
        "UPDATE plans SET stripe_price_id = 'price_prem' WHERE id = 'premium' RETURNING 1"
    )
    prices = ["price_pro", "price_prem"] * 5
    events = [
        told("updated", subscription(price=price), 1000 + number)
        for number, price in enumerate(prices)
    ]
    await asyncio.gather(*(send(paid_service.client, event) for event in reversed(events)))
    assert await plan_of(paid_service) == "premium"


@pytest.mark.parametrize(
    "options",
    [
        {"secret": "whsec_of_somebody_else"},
        {"header": None},
        {"header": ""},
        {"header": "t=1,v1=00"},
        {"header": "t=abc,v1="},
        {"at": int(time.time()) - 400},
    ],
)
async def test_a_bad_signature_or_an_old_one_is_refused_and_changes_nothing(
    paid_service: Service, options: dict[str, Any]
) -> None:
    event = told("created", subscription())
    assert await send(paid_service.client, event, **options) == (400, "signature_refused")
    assert await plan_of(paid_service) is None
    assert await paid_service.sql("SELECT FROM stripe_events") == []


async def test_another_body_under_the_same_signature_is_refused(paid_service: Service) -> None:
    header = signed(encoded(told("created", subscription())))
    other = told("created", subscription(customer="cus_2"))
    assert await send(paid_service.client, other, header=header) == (400, "signature_refused")


async def test_a_huge_body_is_refused_before_it_is_read(paid_service: Service) -> None:
    event = told("created", subscription(metadata={"padding": "x" * 600_000}))
    assert await send(paid_service.client, event) == (413, "body_too_large")


@pytest.mark.parametrize(
    "change",
    [
        {"customer": None},
        {"customer": ""},
        {"status": 1},
        {"items": {}},
        {"items": {"data": [{"price": {}}]}},
        {"created": "yesterday"},
        {"created": -1},
        {"created": 10**30},
        {"metadata": {"organization_id": "null \0 character"}},
    ],
)
async def test_a_signed_event_without_what_it_should_have_is_told_so(
    paid_service: Service, change: dict[str, Any]
) -> None:
    event = told("created", subscription() | change)
    assert await send(paid_service.client, event) == (422, "invalid_body")


async def test_what_cannot_be_matched_is_taken_and_counted(paid_service: Service) -> None:
    unknown = told("created", subscription("sub_2", "cus_2"))
    assert await send(paid_service.client, unknown) == (200, "unmatched")
    price = told("created", subscription(price="price_new"))
    assert await send(paid_service.client, price) == (200, "unmatched")
    rows = await paid_service.sql("SELECT reason FROM stripe_events ORDER BY received_at")
    assert [row["reason"] for row in rows] == ["unknown_customer", "unknown_price"]
    metrics = (await paid_service.client.get("/metrics")).text
    assert 'meter_webhooks_total{outcome="unmatched"} 2.0' in metrics


async def test_without_a_secret_there_is_nothing_at_the_path(service: Service) -> None:
    payload = encoded(told("created", subscription()))
    headers = {"stripe-signature": signed(payload)}
    answer = await service.client.post("/webhooks/stripe", content=payload, headers=headers)
    assert answer.status_code == 404


async def test_while_postgres_is_away_stripe_is_told_to_come_again(
    paid_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    event = told("created", subscription())
    await paid_service.sql("ALTER TABLE stripe_events RENAME TO gone")
    assert await send(paid_service.client, event) == (503, "storage_unavailable")
    await paid_service.sql("ALTER TABLE gone RENAME TO stripe_events")
    assert await send(paid_service.client, event) == (200, "applied")
    assert SECRET not in caplog.text


async def test_another_method_is_a_problem_that_names_the_right_one(paid_service: Service) -> None:
    answer = await paid_service.client.get("/webhooks/stripe")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "method_not_allowed"


async def test_it_is_described_where_it_is_served(paid_service: Service) -> None:
    openapi = (await paid_service.client.get("/openapi.json")).json()
    described = openapi["paths"]["/webhooks/stripe"]["post"]
    assert described["security"] == []
    assert [each["name"] for each in described["parameters"]] == ["Stripe-Signature"]
    payload = encoded(told("created", subscription()))
    for headers in ({}, {"stripe-signature": signed(payload)}):
        answer = await paid_service.client.post(
            "/webhooks/stripe", content=payload, headers=headers
        )
        content = described["responses"][str(answer.status_code)]["content"]
        assert list(content) == [answer.headers["content-type"]]
    assert 'id="takeStripeEvent"' in (await paid_service.client.get("/docs")).text
