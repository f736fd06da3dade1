"""Periods in SQL are those of the programs, whatever cycles were set and when."""

import uuid
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.cycles import CycleChange, cycles_of
from meter.periods import BillingCycle, Period, date_of, start_of_day
from tests.sql.accounts import noon, row_of

pytestmark = pytest.mark.integration

ZONES = (
    "UTC",
    "Pacific/Auckland",
    "Asia/Kathmandu",
    "America/New_York",
    # Clocks change at midnight, in either direction.
    "America/Havana",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Beirut",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
)
LOW = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
HIGH = int(datetime(2029, 1, 1, tzinfo=UTC).timestamp())
PRESENT = int(noon().timestamp())

cycles = st.builds(
    BillingCycle, st.sampled_from(ZONES), st.sampled_from([1, 2, 15, 28, 29, 30, 31])
)
# Several within one period, too: of those only the last one comes into force.
gaps = st.sampled_from([1, 3_600, 86_400, 12 * 86_400, 35 * 86_400, 200 * 86_400])


@st.composite
def changes_from(draw: st.DrawFn, earliest: int, latest: int) -> list[CycleChange]:
    """Cycles as they were set, one after the other."""
    set_at = draw(st.just(0) | st.integers(earliest, latest))
    found: list[CycleChange] = []
    # Few different ones, so that some are set back to what they were.
    some = draw(st.lists(cycles, min_size=1, max_size=2))
    for cycle in draw(st.lists(st.sampled_from([*some, BillingCycle()]), max_size=5)):
        found.append(CycleChange(set_at, cycle))
        set_at = max(set_at, earliest) + draw(gaps)
    return found


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


async def set_cycles(db: asyncpg.Connection, organization: str, given: list[CycleChange]) -> None:
    for change in given:
        await db.execute(
            "INSERT INTO billing_cycles (organization_id, set_at, time_zone, anchor_day)"
            " VALUES ($1, $2, $3, $4)",
            organization,
            # Kept with its microseconds, and read without.
            moment(change.set_at) + timedelta(microseconds=change.set_at % 1_000_000),
            change.cycle.zone,
            change.cycle.anchor_day,
        )


async def period_in_sql(
    db: asyncpg.Connection, organization: str, second: int
) -> tuple[Period, str]:
    row = await row_of(db, "SELECT * FROM account_period($1, $2)", organization, moment(second))
    return (
        Period(int(row["period_start"].timestamp()), int(row["period_end"].timestamp())),
        row["time_zone"],
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=changes_from(LOW, HIGH),
    seconds=st.lists(st.integers(LOW, HIGH), min_size=1, max_size=4),
)
async def test_an_accounts_period_is_the_one_that_the_ledger_has(
    db: asyncpg.Connection, changes: list[CycleChange], seconds: list[int]
) -> None:
    organization = str(uuid.uuid4())
    await set_cycles(db, organization, changes)
    expected = cycles_of(changes)
    turns = [force.since for force in expected.in_force if force.since is not None]
    for second in [*seconds, *turns, *(turn - 1 for turn in turns)]:
        period, zone = await period_in_sql(db, organization, second)
        assert period == expected.period_of(second)
        assert zone == expected.at(second).zone


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(zone=st.sampled_from(ZONES), day=st.dates(date(1990, 1, 1), date(2029, 12, 31)))
async def test_a_day_begins_when_it_does_in_the_programs(
    db: asyncpg.Connection, zone: str, day: date
) -> None:
    began = await db.fetchval("SELECT start_of_day($1, $2)", day, zone)
    assert int(began.timestamp()) == start_of_day(day, zone)


@pytest.mark.parametrize(
    ("zone", "day", "began"),
    [
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),  # skipped as a whole
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00+00:00"),  # two midnights
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00+00:00"),  # no midnight
    ],
)
async def test_days_without_a_midnight_or_with_two_begin_once(
    db: asyncpg.Connection, zone: str, day: str, began: str
) -> None:
    found = await db.fetchval("SELECT start_of_day($1, $2)", date.fromisoformat(day), zone)
    assert found == datetime.fromisoformat(began)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    zone=st.sampled_from(ZONES),
    period=st.sampled_from(["day", "week", "year"]),
    second=st.integers(LOW, HIGH),
)
async def test_days_weeks_and_years_hold_their_moment_and_adjoin(
    db: asyncpg.Connection, zone: str, period: str, second: int
) -> None:
    organization = str(uuid.uuid4())
    await set_cycles(db, organization, [CycleChange(0, BillingCycle(zone))])
    row = await row_of(
        db, "SELECT * FROM usage_period($1, $2, $3)", organization, period, moment(second)
    )
    assert row["period_start"] <= moment(second) < row["period_end"]
    first = date_of(int(row["period_start"].timestamp()), zone)
    after = date_of(int(row["period_end"].timestamp()), zone)
    if period == "day":
        assert after - first == timedelta(days=1)
    elif period == "week":
        assert (first.isoweekday(), after - first) == (1, timedelta(days=7))
    else:
        assert (first.month, first.day, after) == (1, 1, date(first.year + 1, 1, 1))
    following = await row_of(
        db, "SELECT * FROM usage_period($1, $2, $3)", organization, period, row["period_end"]
    )
    assert following["period_start"] == row["period_end"]


async def test_cycles_in_force_follow_what_is_set_and_taken_back(db: asyncpg.Connection) -> None:
    await db.execute("INSERT INTO organizations (id, time_zone) VALUES ('acme', 'Asia/Kathmandu')")
    rows = await db.fetch("SELECT time_zone FROM cycles_in_force")
    assert [row["time_zone"] for row in rows] == ["Asia/Kathmandu"]
    await db.execute("UPDATE organizations SET time_zone = 'UTC'")
    assert await db.fetch("SELECT FROM cycles_in_force") == []
    await db.execute("UPDATE organizations SET time_zone = 'Asia/Kathmandu'")
    await db.execute("TRUNCATE billing_cycles")
    assert await db.fetch("SELECT FROM cycles_in_force") == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=changes_from(PRESENT - 50 * 86_400, PRESENT),
    offsets=st.lists(st.integers(-2, 2), min_size=1, max_size=3),
)
async def test_the_days_of_a_period_make_up_its_figure(
    db: asyncpg.Connection, changes: list[CycleChange], offsets: list[int]
) -> None:
    await db.execute("SELECT ensure_usage_partitions(now() - interval '4 months', 8)")
    organization, expected = str(uuid.uuid4()), cycles_of(changes)
    await set_cycles(db, organization, changes)
    present = expected.period_of(PRESENT)
    turns = [present.start, present.end, expected.period_of(present.start - 1).start]
    minutes = sorted({turn // 60 + offset for turn in turns for offset in offsets})
    await db.executemany(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " VALUES (gen_random_uuid(), $1, 'ann', $2, 1)",
        [(organization, moment(minute * 60)) for minute in minutes],
    )
    for period in (present, expected.period_of(present.start - 1)):
        found = await row_of(
            db,
            "SELECT * FROM period_seconds($1, 'ann', $2, $3, $4)",
            organization,
            moment(period.start),
            moment(period.end),
            expected.at(period.start).zone,
        )
        inside = sum(minute * 60 in period for minute in minutes)
        assert tuple(found) == (inside, inside)
