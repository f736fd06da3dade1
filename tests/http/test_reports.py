"""`/api/admin/usage`: analytics, and reports of any length."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gateway.http import reports
from tests.http.conftest import Service, pages

USAGE = "/api/admin/usage"
REPORT = f"{USAGE}/report"
ANALYTICS = f"{USAGE}/analytics"
TODAY = datetime.now(UTC).date()


async def record(service: Service, organization: str, user: str, minutes: float) -> None:
    """A session that has just ended, in Postgres."""
    await service.sql(
        "SELECT record_ended_session($1, $2, $3, 'interview')",
        organization,
        user,
        int(minutes * 60),
    )


async def report(service: Service, **params: Any) -> httpx.Response:
    span = {"first_day": str(TODAY - timedelta(days=2)), **params}
    response = await service.operator.ask("GET", REPORT, params=span)
    assert response.status_code == 200, response.text
    return response


async def listed(service: Service, path: str, limit: int, **params: object) -> list[Any]:
    """All items of a list, page by page."""
    return await pages(service.operator, path, limit, **params)


async def test_a_report_has_the_same_rows_as_csv_and_json(service: Service) -> None:
    await record(service, "acme", 'ann "the" b, c', 1.5)
    await record(service, "globex", "bob", 2)
    for rows in ("days", "sessions", "minutes"):
        text = await report(service, rows=rows, format="csv")
        assert text.headers["content-type"] == "text/csv; charset=utf-8"
        assert f"usage-{rows}" in text.headers["content-disposition"]
        lines = list(csv.DictReader(io.StringIO(text.text)))
        items = (await report(service, rows=rows, format="json")).json()
        assert [line.keys() for line in lines] == [item.keys() for item in items]
        assert [line["user_id"] for line in lines] == [item["user_id"] for item in items]
        assert sum(int(line["seconds"]) for line in lines) == 210
        assert sum(item["seconds"] for item in items) == 210
        ours = (await report(service, rows=rows, format="json", organization_id="acme")).json()
        assert {item["organization_id"] for item in ours} == {"acme"}


async def test_no_text_of_a_csv_report_is_a_formula(service: Service) -> None:
    formulas = (
        *("=1+1", "+1", "-2", "@SUM(1)", "\tx", "\rx", " =1", "\n\t=1"),
        *("\ufeff=1", "\uff1d1", "\u200b-1"),
    )
    others = ("a=1", "1-2", "'=1", '"=1', "a\n=1", "ann@example.com", "ü -1", "")
    for name in formulas:
        await record(service, name, "ann", 1)
    for name in others:
        await record(service, "acme", f"{name}.", 1)
    told = {"acme", *(f"'{name}" for name in formulas)}
    for rows in ("days", "sessions", "minutes"):
        text = (await report(service, rows=rows, format="csv")).content.decode()
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
        items = (await report(service, rows=rows, format="json")).json()
        assert {line["organization_id"] for line in lines} == told
        assert {item["organization_id"] for item in items} == {"acme", *formulas}
        assert [line["user_id"] for line in lines] == [item["user_id"] for item in items]


async def test_numbers_of_a_csv_report_are_left_as_they_are(service: Service) -> None:
    await service.organization("acme")
    body = {"organization_id": "acme", "seconds": -60, "reason": "=1+1"}
    await service.operator.post("/api/admin/adjustments", body, status=201)
    (line,) = csv.DictReader(io.StringIO((await report(service, rows="adjustments")).text))
    assert (line["seconds"], line["reason"]) == ("-60", "'=1+1")


async def test_a_report_of_nothing_has_its_head_alone(service: Service) -> None:
    assert (await report(service, format="json")).json() == []
    assert (
        await report(service)
    ).text == "organization_id,user_id,day,time_zone,seconds,minutes\r\n"


async def test_a_long_report_comes_in_parts_and_nothing_is_missing(service: Service) -> None:
    await service.sql("SELECT ensure_usage_partitions(now() - interval '3 days', 1)")
    await service.sql(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " SELECT $1, 'acme', 'ann', minute, 1 FROM generate_series("
        " date_trunc('day', now() - interval '2 days'), now(), interval '1 minute') AS minute"
        " RETURNING 1",
        uuid4(),
    )
    rows = await service.sql("SELECT count(*) FROM usage_tracking")
    text = (await report(service, rows="minutes", format="json")).text
    items = json.loads(text)
    assert len(items) == rows[0][0] > 2 * 24 * 60
    assert len({item["minute_timestamp"] for item in items}) == len(items)


@pytest.mark.parametrize(
    "query",
    [
        {"first_day": "2026-02-30"},
        {"first_day": "2024-01-01", "last_day": "2026-01-01"},
        {"first_day": "2026-02-02", "last_day": "2026-02-01"},
        {"rows": "secrets"},
        {"format": "xml"},
        {"first_day": "0001-01-01", "last_day": "0001-01-02"},
    ],
    ids=str,
)
async def test_a_report_of_what_there_is_not_is_a_bad_request(
    service: Service, query: dict[str, str]
) -> None:
    response = await service.operator.ask("GET", REPORT, params=query)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_days_that_are_not_named_are_the_months_until_the_last_one() -> None:
    assert reports.span_of(None, date(2028, 2, 29)) == (date(2028, 2, 1), date(2028, 2, 29))
    first, last = reports.span_of(None, None)
    assert first == last.replace(day=1)
    assert timedelta(0) <= datetime.now(UTC).date() - last <= timedelta(days=1)


async def test_only_a_few_are_made_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTS_AT_ONCE", 0)
    response = await service.operator.ask("GET", REPORT)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_requests")
    assert int(response.headers["retry-after"]) > 0
    monkeypatch.undo()
    for _ in range(5):  # each gives back its place
        await report(service)


async def test_analytics_say_what_was_used_by_day_organization_plan_and_feature(
    service: Service,
) -> None:
    await record(service, "acme", "ann", 3)
    await record(service, "acme", "bob", 1)
    await record(service, "globex", "cyd", 2)
    await service.organization("acme")
    subscription = {"organization_id": "acme", "plan_id": "premium"}
    await service.operator.post("/api/admin/subscriptions", subscription, status=201)
    feature = {"usage_type": "detailed_analysis_per_month", "amount": 2}
    await service.caller("acme", "ann").post("/api/billing/track-usage", feature)
    span = {"first_day": str(TODAY - timedelta(days=1))}
    found = await service.operator.get(ANALYTICS, **span)
    assert (found["seconds"], found["minutes"], found["sessions"]) == (360, 6, 3)
    assert (found["organizations"], found["users"]) == (2, 3)
    assert sum(day["seconds"] for day in found["days"]) == 360
    assert [(each["organization_id"], each["seconds"]) for each in found["top_organizations"]] == [
        ("acme", 240),
        ("globex", 120),
    ]
    by_plan = {each["plan_id"]: each["seconds"] for each in found["plans"]}
    assert by_plan == {"premium": 240, None: 120}
    assert [(each["usage_type"], each["amount"], each["users"]) for each in found["features"]] == [
        ("detailed_analysis_per_month", 2, 1)
    ]
    ours = await service.operator.get(ANALYTICS, organization_id="globex", **span)
    assert (ours["seconds"], ours["organizations"]) == (120, 1)


async def test_a_report_costs_no_memory_and_ends_with_its_reader(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ended = 0, asyncio.Event()

    async def endless(*_: object) -> AsyncIterator[list[dict[str, Any]]]:
        nonlocal made
        row = {"organization_id": "acme", "user_id": "ann", "day": TODAY, "time_zone": "UTC"}
        try:
            while True:
                made += 1
                await asyncio.sleep(0)  # as a database makes one wait
                yield [{**row, "seconds": 60, "minutes": 1}] * 500
        finally:
            ended.set()

    monkeypatch.setattr(service.store, "report", endless)
    headers = {"authorization": service.operator.bearer}
    async with service.client.stream("GET", REPORT, headers=headers) as response:
        size, parts = 0, response.aiter_raw()  # it is held: else the reader would be gone
        async for part in parts:
            size += len(part)
            if size > 1_000_000:
                break
        sent = 0
        while sent < made:  # what sockets hold is sent, and then it waits for its reader
            sent = made
            await asyncio.sleep(0.3)
        assert not ended.is_set(), "it waits, and goes on"
    async with asyncio.timeout(30):
        await ended.wait()
    monkeypatch.undo()
    for _ in range(3):
        await report(service)


async def idle(service: Service, user: str, days: int, seconds: int) -> None:
    """Somebody whose last seconds are so many days old."""
    await service.sql("SELECT ensure_usage_partitions(now() - make_interval(days => $1), 1)", days)
    await service.sql(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " VALUES ($1, 'acme', $2, date_trunc('minute', now() - make_interval(days => $3)), $4)"
        " RETURNING 1",
        uuid4(),
        user,
        days,
        2**seconds - 1,
    )


async def test_power_users_are_paged_those_who_recorded_most_first(service: Service) -> None:
    for user, minutes in (("ann", 3), ("bob", 5), ("cyd", 3), ("dan", 1)):
        await record(service, "acme", user, minutes)
    await record(service, "globex", "dan", 3)
    await idle(service, "eve", 50, 9)
    path, since = f"{USAGE}/power-users", str(TODAY - timedelta(days=1))
    found = await listed(service, path, 2, first_day=since)
    assert [(each["user_id"], each["seconds"]) for each in found] == [
        ("bob", 300),
        ("dan", 240),
        ("ann", 180),
        ("cyd", 180),
    ]
    assert found == await listed(service, path, 1, first_day=since)
    there = await listed(service, path, 1, first_day=since, organization_id="globex")
    assert [(each["user_id"], each["seconds"]) for each in there] == [("dan", 180)]
    everybody = await listed(service, path, 500, first_day=str(TODAY - timedelta(days=60)))
    assert everybody[-1]["user_id"] == "eve"
    before = await listed(
        service, path, 500, first_day=str(TODAY - timedelta(days=60)), last_day=since
    )
    assert "eve" in {each["user_id"] for each in before}
    assert sum(each["seconds"] for each in before) < 909


async def test_those_who_dropped_off_are_paged(service: Service) -> None:
    await record(service, "acme", "ann", 3)
    for user, days, seconds in (("bob", 50, 3), ("cyd", 40, 9), ("dan", 30, 3), ("eve", 29, 60)):
        await idle(service, user, days, seconds)
    path = f"{USAGE}/dropped-off-users"
    found = await listed(service, path, 1)
    assert [(each["user_id"], each["idle"], each["seconds"]) for each in found] == [
        ("cyd", 40, 9),
        ("bob", 50, 3),
        ("dan", 30, 3),
    ]
    assert [each["user_id"] for each in await listed(service, path, 2, idle_days=45)] == ["bob"]
    assert await listed(service, path, 2, idle_days=45, within_days=49) == []


async def test_adoption_is_told_by_month_tier_and_feature_in_pages(service: Service) -> None:
    ann, bob = service.caller(), service.caller()
    month = datetime.now(UTC).date().replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1)
    usages = {"interviews_per_day": 1, "detailed_analysis_per_month": 2}
    for caller in (ann, bob):
        await caller.post("/api/billing/init-user", {})
        await caller.post("/api/billing/track-usage", {"usages": usages})
    premium = {"organization_id": bob.organization, "plan_id": "premium"}
    await service.operator.post("/api/admin/subscriptions", premium, status=201)
    await bob.post("/api/billing/track-usage", {"usages": {"interviews_per_day": 3}})
    found = await listed(service, f"{USAGE}/feature-adoption", 1)
    assert {each["month"] for each in found} == {str(month)}
    names = ("tier", "usage_type", "users", "amount")
    assert [tuple(each[name] for name in names) for each in found] == [
        ("premium", "interviews_per_day", 1, 3),
        ("starter", "detailed_analysis_per_month", 2, 4),
        ("starter", "interviews_per_day", 2, 2),
    ]
    assert [each["accounts"] for each in found] == [1, 2, 2]
    await service.sql(
        "INSERT INTO feature_events (organization_id, user_id, usage_type, amount, used_at)"
        " VALUES ($1, $1, 'interviews_per_day', 9, $2) RETURNING 1",
        ann.user,
        datetime(before.year, before.month, 15, tzinfo=UTC),
    )
    both = await listed(service, f"{USAGE}/feature-adoption", 1, first_day=str(before))
    assert both[:-1] == found
    assert (both[-1]["month"], both[-1]["tier"], both[-1]["amount"]) == (str(before), "none", 9)
    long_ago = {"first_day": "2024-01-31", "last_day": "2024-02-01"}
    assert await listed(service, f"{USAGE}/feature-adoption", 9, **long_ago) == []


async def adjust(service: Service, seconds: int, reason: str, **fields: object) -> None:
    body = {"organization_id": "acme", "seconds": seconds, "reason": reason, **fields}
    await service.operator.post("/api/admin/adjustments", body, status=201)


async def test_adjustments_are_a_report_and_in_the_totals_of_analytics(service: Service) -> None:
    await service.organization("acme")
    await record(service, "acme", "ann", 10)
    await adjust(service, -300, 'an outage, "ours"', user_id="ann")
    await adjust(service, 60, "by phone")
    long_ago = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp())
    await adjust(service, 5, "late", effective_at=long_ago)
    items = (await report(service, rows="adjustments", format="json")).json()
    assert [(each["user_id"], each["seconds"], each["reason"]) for each in items] == [
        ("ann", -300, 'an outage, "ours"'),
        (None, 60, "by phone"),
    ]
    assert {each["author"] for each in items} == {"olga"}
    text = await report(service, rows="adjustments", format="csv")
    lines = list(csv.DictReader(io.StringIO(text.text)))
    assert [line.keys() for line in lines] == [item.keys() for item in items]
    assert [(line["user_id"], line["seconds"], line["reason"]) for line in lines] == [
        ("ann", "-300", 'an outage, "ours"'),
        ("", "60", "by phone"),
    ]
    for line, item in zip(lines, items, strict=True):
        for name in ("effective_at", "created_at"):
            assert datetime.fromisoformat(line[name]) == datetime.fromisoformat(item[name])
    then = {"first_day": "2026-01-15", "last_day": "2026-01-15"}
    (late,) = (await report(service, rows="adjustments", format="json", **then)).json()
    assert late["reason"] == "late"
    other = await report(service, rows="adjustments", format="json", organization_id="globex")
    assert other.json() == []
    span = {"first_day": str(TODAY - timedelta(days=1))}
    found = await service.operator.get(ANALYTICS, **span)
    assert (found["seconds"], found["adjusted_seconds"]) == (600, -240)
    assert sum(day["seconds"] for day in found["days"]) == 600
    ours = await service.operator.get(ANALYTICS, organization_id="globex", **span)
    assert ours["adjusted_seconds"] == 0
