"""Kept figures of periods that are no UTC months: they always equal what the rows say."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.cycles import CycleChange, cycles_of
from meter.ledger.types import DueSession
from meter.periods import BillingCycle, Period, date_of
from persistence.database import Database
from persistence.periods import make_periods, set_cycle
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.persistence.billing import (
    AUCKLAND,
    assert_periods_follow_rows,
    at,
    kept,
    made_of,
    subscribe,
)
from tests.persistence.builders import FULL, NOW, THIS_MINUTE, due, until_somebody_waits

pytestmark = pytest.mark.integration

ORGANIZATIONS = {
    "org_1": BillingCycle(AUCKLAND, 31),
    "org_2": BillingCycle("America/New_York", 1),
    "org_3": BillingCycle(),
    "org_4": BillingCycle(),
}
# That never had another cycle, and so has no row.
DEFAULT = "org_3"
SESSIONS = {
    str(uuid.UUID(int=number)): account
    for number, account in enumerate(
        (
            ("org_1", "ann"),
            ("org_1", "ann"),
            ("org_1", "bob"),
            ("org_2", "ann"),
            ("org_3", "cy"),
            ("org_4", "cy"),
        ),
        1,
    )
}
YEAR = Period(at("2027-01-01T00:00Z"), at("2028-04-01T00:00Z"))


def _turns(cycle: BillingCycle) -> list[int]:
    """All turns of the year and a bit, with a leap day in it."""
    cycles, turns = cycles_of([CycleChange(0, cycle)]), []
    period = cycles.period_of(YEAR.start)
    while period.end < YEAR.end:
        turns.append(period.end)
        period = cycles.period_of(period.end)
    return turns


edges = st.sampled_from(_turns(ORGANIZATIONS["org_1"]) + _turns(ORGANIZATIONS["org_2"]))
minutes = st.builds(
    lambda second, offset: second // 60 + offset,
    edges | st.integers(YEAR.start, YEAR.end - 120),
    st.integers(-1, 0),
)
row = st.tuples(st.sampled_from(list(SESSIONS)), minutes, st.integers(1, FULL))
steps = st.lists(
    st.tuples(st.just("write"), st.lists(row, min_size=1, max_size=12))
    | st.tuples(st.just("update"), row)
    | st.tuples(st.just("delete"), row)
    | st.tuples(st.just("make"), minutes)
    | st.tuples(st.just("clear"), st.none()),
    min_size=2,
    max_size=14,
)


async def _take(connection: asyncpg.Connection, writer: Writer, name: str, given: Any) -> None:
    match name, given:
        case "write", list(rows):
            await writer.write(_batch(rows))
        case "update", (_, minute, mask):
            await connection.execute(
                "UPDATE usage_tracking SET seconds_mask = $2"
                " WHERE minute_timestamp >= to_timestamp($1)",
                minute * 60,
                mask,
            )
        case "delete", (session, minute, _):
            await connection.execute(
                "DELETE FROM usage_tracking"
                " WHERE session_id = $1 OR minute_timestamp = to_timestamp($2)",
                session,
                minute * 60,
            )
        case "make", minute:
            await make_periods(connection, list(ORGANIZATIONS), minute * 60)
        case "clear", _:
            await connection.execute("TRUNCATE usage_tracking")


def _batch(rows: Sequence[tuple[str, int, int]]) -> list[DueSession]:
    merged: dict[str, dict[int, int]] = {}
    for session, minute, mask in rows:
        masks = merged.setdefault(session, {})
        masks[minute] = masks.get(minute, 0) | mask
    return [
        due(
            *masks.items(),
            session=session,
            organization=SESSIONS[session][0],
            user=SESSIONS[session][1],
            row=False,
        )
        for session, masks in merged.items()
    ]


@pytest.mark.parametrize(
    ("zone", "turn"),
    [
        (AUCKLAND, "2027-01-01T00:00+13:00"),
        (AUCKLAND, "2027-05-01T00:00+12:00"),
        (AUCKLAND, "2028-03-01T00:00+13:00"),
        ("Asia/Kathmandu", "2027-01-01T00:00+05:45"),
        ("Asia/Kathmandu", "2028-03-01T00:00+05:45"),
        ("America/New_York", "2027-01-01T00:00-05:00"),
        ("America/New_York", "2027-11-01T00:00-04:00"),
    ],
)
async def test_the_minutes_on_both_sides_of_a_turn_are_of_different_periods(
    database_url: str,
    connection: asyncpg.Connection,
    storage: PostgresStorage,
    writer: Writer,
    zone: str,
    turn: str,
) -> None:
    await connection.execute("SELECT ensure_usage_partitions('2026-12-01Z', 20)")
    minute = at(turn) // 60
    assert minute * 60 == at(turn)
    await set_cycle(database_url, "org_1", zone)
    rows = due((minute - 1, 0b1), (minute, 0b11), origin=at(turn) - 60)
    await writer.write([rows])
    for _ in range(2):  # from the rows, and then from figures that are kept
        account = await storage.load_account("org_1", "user_1", at(turn))
        assert account.periods[1].start == at(turn)
        assert account.organization_used == account.member_used == (1, 2, 0)
    late = due((minute - 1, FULL), session=rows.state.key.session_id, origin=at(turn) - 60)
    await writer.write([late])
    account = await storage.load_account("org_1", "user_1", at(turn))
    assert account.organization_used == (60, 2, 0)
    await assert_periods_follow_rows(connection)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=steps)
async def test_kept_figures_equal_a_recomputation_after_every_step(
    connection: asyncpg.Connection, writer: Writer, history: list[tuple[str, object]]
) -> None:
    """Over a year with an anchor of 31, a leap day, and periods made before and after the rows."""
    await connection.execute("TRUNCATE usage_tracking, billing_periods, period_usage")
    await connection.execute("TRUNCATE billing_cycles")
    await connection.execute("DELETE FROM interview_sessions")
    await connection.execute("SELECT ensure_usage_partitions('2026-12-01Z', 18)")
    await connection.executemany(
        "INSERT INTO billing_cycles VALUES ($1, 'epoch', $2, $3)",
        [
            (name, each.zone, each.anchor_day)
            for name, each in ORGANIZATIONS.items()
            if name != DEFAULT
        ],
    )
    for name, argument in history:
        await _take(connection, writer, name, argument)
        await assert_periods_follow_rows(connection)
    for name in ORGANIZATIONS:
        assert all(
            a.end == b.start or a.end < b.start
            for a, b in pairwise(await made_of(connection, name))
        )
    assert await made_of(connection, DEFAULT) == []


async def test_an_anchor_of_31_has_a_period_each_month_of_a_year(
    connection: asyncpg.Connection, storage: PostgresStorage, writer: Writer
) -> None:
    await connection.execute("SELECT ensure_usage_partitions('2026-12-01Z', 18)")
    await subscribe(connection, "2026-12-31T08:00Z")
    turns = [turn // 60 for turn in _turns(BillingCycle("UTC", 31))]
    await writer.write(
        [due(*((minute - 1, 0b1) for minute in turns), *((minute, 0b11) for minute in turns))]
    )
    for turn in turns:
        await make_periods(connection, ["org_1"], turn * 60)
    await assert_periods_follow_rows(connection)
    dates = [date_of(turn * 60, "UTC").isoformat()[5:] for turn in turns]
    assert dates == [
        *("01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30"),
        *("10-31", "11-30", "12-31", "01-31", "02-29", "03-31"),
    ]
    for turn in turns[1:-1]:
        account = await storage.load_account("org_1", "user_1", turn * 60)
        assert account.organization_used[1] == 3


async def test_reading_an_account_touches_no_minutes(
    database_url: str, connection: asyncpg.Connection, storage: PostgresStorage, writer: Writer
) -> None:
    """So it costs the same however many there are."""
    await set_cycle(database_url, "org_1", AUCKLAND)
    await writer.write([due((THIS_MINUTE, 0b111)), due((THIS_MINUTE, 0b1), organization="org_2")])
    await storage.load_account("org_1", "user_1", NOW)  # makes the periods
    async with connection.transaction():
        await connection.execute("LOCK TABLE usage_tracking")
        for organization, used in (("org_1", 3), ("org_2", 1)):
            async with asyncio.timeout(30):
                account = await storage.load_account(organization, "user_1", NOW, with_live=False)
            assert sum(account.organization_used) == used


async def test_figures_of_a_new_period_have_what_is_being_written_meanwhile(
    database_url: str, connection: asyncpg.Connection, database: Database
) -> None:
    """Also by somebody who takes no lock of the flushers'."""
    await set_cycle(database_url, "org_1", AUCKLAND)
    insert = (
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " VALUES (gen_random_uuid(), 'org_1', 'user_1', to_timestamp($1), 7)"
    )
    async with database.connection() as maker:
        async with connection.transaction():
            await connection.execute(insert, NOW)
            making = asyncio.create_task(make_periods(maker, ["org_1"], NOW))
            await until_somebody_waits(connection)
            await connection.execute(insert, NOW + 60)
        assert await making == 4
    await connection.execute(insert, NOW + 120)
    assert [seconds for *_, seconds in await kept(connection)] == [9]
    await assert_periods_follow_rows(connection)


async def test_figures_are_exact_also_while_no_period_can_be_made(
    database_url: str,
    connection: asyncpg.Connection,
    storage: PostgresStorage,
    writer: Writer,
) -> None:
    await set_cycle(database_url, "org_1", AUCKLAND)
    await writer.write([due((THIS_MINUTE, 0b111))])
    async with connection.transaction():
        await connection.execute("UPDATE usage_tracking SET seconds_mask = 1")  # and goes on
        account = await storage.load_account("org_1", "user_1", NOW)
        assert sum(account.organization_used) == 3
    assert await made_of(connection) == []
    account = await storage.load_account("org_1", "user_1", NOW)
    assert sum(account.organization_used) == 1
    assert len(await made_of(connection)) == 4


async def test_a_change_replaces_the_periods_it_overtakes_and_no_other(
    database_url: str, connection: asyncpg.Connection, writer: Writer, storage: PostgresStorage
) -> None:
    now = int(time.time())  # when the cycle is changed: in Auckland it may be the next month
    await set_cycle(database_url, "org_1", AUCKLAND)
    await writer.write([due((THIS_MINUTE, 0b111))])
    await storage.load_account("org_1", "user_1", now)
    before = await made_of(connection)
    await set_cycle(database_url, "org_1", "America/New_York")
    await storage.load_account("org_1", "user_1", now)
    after = await made_of(connection)
    assert after[:2] == before[:2]
    assert after[2].start == before[2].start
    assert after[2].end - before[2].end in (16 * 3600, 17 * 3600, 18 * 3600)
    (recorded,) = (each for each in before if each.start <= THIS_MINUTE * 60 < each.end)
    assert await kept(connection) == {("org_1", "user_1", recorded.start, 3)}
