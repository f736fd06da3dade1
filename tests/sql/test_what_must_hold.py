"""What tables refuse, what nobody is told, and what follows events that are changed."""

from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from meter.codes import EndReason
from tests.calm import calm_zone
from tests.sql.accounts import (
    FULL,
    adjust,
    check,
    limit_organization,
    noon,
    record,
    row_of,
    subscribe,
    track,
)

pytestmark = pytest.mark.integration

ANALYSES = "detailed_analysis_per_month"
KNOWN = ("minutes_per_month", "interviews_per_day", "chat_responses_per_month", "chat_instances")

SESSION: dict[str, Any] = {
    "organization_id": "acme",
    "user_id": "ann",
    "started_at": noon(),
    "ended_at": None,
    "end_reason": None,
    "seconds_recorded": 0,
}


async def insert_session(db: asyncpg.Connection, **given: object) -> None:
    values = SESSION | given
    names, places = ", ".join(values), ", ".join(f"${place + 2}" for place in range(len(values)))
    await db.execute(
        f"INSERT INTO interview_sessions (session_id, {names})"
        f" SELECT gen_random_uuid(), {places} WHERE $1",
        True,
        *values.values(),
    )


@pytest.mark.parametrize(
    ("given", "constraint"),
    [
        ({"organization_id": ""}, "interview_sessions_account"),
        ({"user_id": ""}, "interview_sessions_account"),
        ({"started_at": datetime.max}, "interview_sessions_moments"),
        ({"ended_at": datetime.max, "end_reason": "stopped"}, "interview_sessions_moments"),
        ({"ended_at": noon(), "end_reason": "whatever"}, "interview_sessions_reason"),
        ({"seconds_recorded": 500}, "interview_sessions_recorded"),
    ],
)
async def test_a_session_that_cannot_be_is_refused(
    db: asyncpg.Connection, given: dict[str, object], constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as error:
        await insert_session(db, **given)
    assert error.value.constraint_name == constraint


@pytest.mark.parametrize("reason", EndReason)
async def test_a_session_ends_for_each_reason_also_where_the_clock_was_set_back(
    db: asyncpg.Connection, reason: EndReason
) -> None:
    await insert_session(db, ended_at=noon() - timedelta(hours=1), end_reason=reason.value)
    assert await db.fetchval("SELECT end_reason FROM interview_sessions") == reason


async def test_minutes_of_no_account_are_refused_with_their_session(
    db: asyncpg.Connection,
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="interview_sessions_account"):
        await db.execute(
            "INSERT INTO usage_tracking"
            " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
            " VALUES (gen_random_uuid(), '', 'ann', $1, $2)",
            noon(),
            FULL,
        )


async def test_a_session_may_come_with_the_seconds_that_its_rows_have(
    db: asyncpg.Connection,
) -> None:
    session = await record(db, "acme", "ann", 90)
    await db.execute(
        "INSERT INTO interview_sessions AS kept"
        " (session_id, organization_id, user_id, started_at, seconds_recorded)"
        " VALUES ($1, 'acme', 'ann', $2, 90)"
        " ON CONFLICT (session_id) DO UPDATE SET seconds_recorded = excluded.seconds_recorded",
        session,
        noon(),
    )
    assert await db.fetchval("SELECT seconds_recorded FROM interview_sessions") == 90


async def event(
    db: asyncpg.Connection, organization: str = "acme", user: str = "ann", days: float = 0
) -> None:
    await db.execute(
        "INSERT INTO feature_events (organization_id, user_id, usage_type, amount, used_at)"
        " VALUES ($1, $2, $3, 2, now() + $4::float8 * interval '1 day')",
        organization,
        user,
        ANALYSES,
        days,
    )


async def test_an_event_of_nobody_or_of_a_time_to_come_is_refused(
    db: asyncpg.Connection,
) -> None:
    for given, constraint in (
        (("", "ann"), "feature_events_account"),
        (("acme", ""), "feature_events_account"),
        (("acme", "ann", 50 * 365), "feature_events_moment"),
    ):
        with pytest.raises(asyncpg.CheckViolationError) as error:
            await event(db, *given)
        assert error.value.constraint_name == constraint
    await event(db, days=0.9)
    with pytest.raises(asyncpg.CheckViolationError, match="yet to come"):
        await db.execute("UPDATE feature_events SET used_at = now() + interval '50 years'")


@pytest.mark.parametrize("name", KNOWN)
async def test_a_usage_type_that_functions_go_by_stays(db: asyncpg.Connection, name: str) -> None:
    for change in ("UPDATE usage_types SET name = 'other'", "DELETE FROM usage_types"):
        with pytest.raises(asyncpg.CheckViolationError, match=f"{name} stays as it is"):
            await db.execute(f"{change} WHERE name = $1", name)
    await db.execute("UPDATE usage_types SET unit = 'pieces', name = name WHERE name = $1", name)


async def test_another_usage_type_is_renamed_with_its_plans_until_it_was_used(
    db: asyncpg.Connection,
) -> None:
    rename = "UPDATE usage_types SET name = $2 WHERE name = $1"
    await db.execute(rename, ANALYSES, "analyses")
    assert (await track(db, "ann", {"analyses": 2}))["usages"][0]["limit"] == 5
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="another usage type"):
        await db.execute(rename, "analyses", ANALYSES)
    assert await db.fetchval("SELECT sum(amount) FROM feature_usage") == 2


# Of nobody ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(None, None), ("", ""), ("ann", None), ("ann", ""), (None, "x")])
async def test_nobody_may_record(db: asyncpg.Connection, given: tuple[str | None, str]) -> None:
    found = await row_of(db, "SELECT * FROM check_usage_limit($1::text, $2::text)", *given)
    assert (found["can_record"], found["allowed"], found["unlimited"]) == (False, False, False)
    assert found["remaining_seconds"] is None
    found = await row_of(db, "SELECT * FROM recording_limit($1, $2)", *given)
    assert not found["can_record"]


@pytest.mark.parametrize("nobody", [None, ""])
async def test_nobody_may_use_a_feature_and_has_no_figures(
    db: asyncpg.Connection, nobody: str | None
) -> None:
    asked = "SELECT can_use_feature($1, $2, 1, $3)"
    for user, organization in ((nobody, None), (nobody, "acme"), ("ann", "")):
        assert not await db.fetchval(asked, user, ANALYSES, organization)
    for sql in (
        "SELECT * FROM check_usage_limit($1, 'interviews_per_day', 1)",
        "SELECT * FROM get_user_usage_summary($1)",
    ):
        assert await db.fetch(sql, nobody) == []
    found = await row_of(db, "SELECT * FROM check_usage_limit($1, $2)", nobody, ANALYSES)
    assert not found["allowed"]


@pytest.mark.parametrize(
    ("user", "organization"), [(None, None), ("", None), (None, "acme"), ("ann", "")]
)
async def test_what_nobody_uses_is_an_error(
    db: asyncpg.Connection, user: str | None, organization: str | None
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as error:
        await db.execute("SELECT track_usage($1, $2, 1, NULL, $3)", user, ANALYSES, organization)
    assert error.value.constraint_name == "usage_account"
    assert await db.fetchval("SELECT count(*) FROM feature_events") == 0


# Credits ------------------------------------------------------------------------------------------


async def test_after_a_credit_used_seconds_are_below_zero_and_what_is_shown_is_not(
    db: asyncpg.Connection,
) -> None:
    await limit_organization(db, "acme", 1)
    await adjust(db, "acme", -7000)
    found = await check(db, "ann", "acme")
    assert (found["used_seconds"], found["remaining_seconds"]) == (-7000, 10_600)
    assert (found["minutes_used"], found["minutes_remaining"]) == (0, 176)
    assert found["percentage_used"] == 0
    await record(db, "acme", "ann", 60)
    found = await check(db, "ann", "acme")
    assert (found["used_seconds"], found["remaining_seconds"]) == (-6940, 10_540)
    assert (found["current_usage"], found["percentage_used"]) == (0, 0)


# Events that are changed --------------------------------------------------------------------------


async def stamps(db: asyncpg.Connection) -> tuple[object, ...]:
    return tuple(
        await row_of(db, "SELECT period_start, period_end, day, plan_id FROM feature_events")
    )


async def test_an_event_that_is_moved_is_of_the_period_day_and_plan_that_it_is_moved_to(
    db: asyncpg.Connection,
) -> None:
    zone = calm_zone()
    await db.execute("INSERT INTO organizations (id, time_zone) VALUES ('acme', $1)", zone)
    await subscribe(db, "acme", "starter")
    await event(db, days=-100)
    before = await stamps(db)
    assert before[3] is None
    await db.execute("UPDATE feature_events SET used_at = now()")
    now = await row_of(
        db,
        "SELECT period_start, period_end, (now() AT TIME ZONE $1)::date"
        " FROM usage_period('acme', 'month')",
        zone,
    )
    assert await stamps(db) == (*now, "starter")
    used = "SELECT used FROM usage_standing($1, 'ann', $2)"
    assert await db.fetchval(used, "acme", ANALYSES) == 2
    await db.execute("UPDATE feature_events SET usage_type = 'interviews_per_day'")
    day = await row_of(db, "SELECT period_start, period_end FROM usage_period('acme', 'day')")
    assert (await stamps(db))[:2] == tuple(day)
    assert await db.fetchval(used, "acme", ANALYSES) == 0
    assert await db.fetchval(used, "acme", "interviews_per_day") == 2
    await db.execute("UPDATE feature_events SET organization_id = 'other'")
    assert (await stamps(db))[3] is None
    assert await db.fetchval(used, "other", "interviews_per_day") == 2
    await db.execute("UPDATE feature_events SET user_id = 'bob'")
    assert await db.fetchval("SELECT user_id FROM feature_usage WHERE amount > 0") == "bob"


async def test_an_event_that_stays_where_it_is_keeps_the_plan_of_its_time(
    db: asyncpg.Connection,
) -> None:
    await subscribe(db, "acme", "starter")
    await event(db)
    stamped = await stamps(db)
    await subscribe(db, "acme", "premium")
    await db.execute("UPDATE feature_events SET amount = 3, usage_type = usage_type")
    assert await stamps(db) == stamped
