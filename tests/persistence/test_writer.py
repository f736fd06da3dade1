"""Batches in a real Postgres: seconds merge as sets, and what is refused hurts nobody else."""

import asyncio
import itertools
import json
import random
import secrets
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from meter.ledger.types import DueSession, Minute
from meter.periods import month_of, month_start
from persistence.writer import Writer, batches, write
from tests.persistence.builders import (
    FULL,
    NOW,
    THIS_MINUTE,
    assert_figures_follow_rows,
    due,
    session_id,
    stored_minutes,
    stored_session,
    until_somebody_waits,
)

pytestmark = pytest.mark.integration


async def test_writing_the_same_batch_again_changes_nothing(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    batch = [due((THIS_MINUTE, 0b1011), (THIS_MINUTE + 1, FULL))]
    first = await writer.write(batch)
    before = await connection.fetch("SELECT xmin, * FROM usage_tracking ORDER BY minute_timestamp")

    second = await writer.write(batch)

    after = await connection.fetch("SELECT xmin, * FROM usage_tracking ORDER BY minute_timestamp")
    assert first == second
    assert before == after  # not even rewritten
    assert (await stored_session(connection, batch[0].state.key.session_id))[
        "seconds_recorded"
    ] == 63
    await assert_figures_follow_rows(connection)


async def test_masks_merge_whatever_the_order(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    session = session_id()
    parts = [
        due((THIS_MINUTE + 1, 0b1), session=session),
        due((THIS_MINUTE, 0b1100), (THIS_MINUTE + 1, 0b1), session=session),
        due((THIS_MINUTE, 0b0110), session=session, row=False),
    ]
    for part in reversed(parts):
        await writer.write([part])

    assert await stored_minutes(connection) == {
        (session, THIS_MINUTE): 0b1110,
        (session, THIS_MINUTE + 1): 0b1,
    }
    await assert_figures_follow_rows(connection)


async def test_a_full_minute_is_sixty_seconds(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    await writer.write([due((THIS_MINUTE, FULL))])
    assert await connection.fetchval("SELECT seconds_recorded FROM usage_tracking") == 60
    assert await connection.fetchval("SELECT minutes_used FROM monthly_usage_cache") == 1


async def test_minutes_at_a_months_end_belong_to_their_utc_month(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    next_month = month_of(NOW).end // 60
    await connection.execute("SET timezone = 'Pacific/Auckland'")
    await writer.write([due((next_month - 1, FULL), (next_month, 0b1))])

    months = await connection.fetch(
        "SELECT month, seconds_used FROM monthly_usage_cache ORDER BY month"
    )
    assert [row["seconds_used"] for row in months] == [60, 1]
    assert all(row["month"].day == 1 for row in months)
    await assert_figures_follow_rows(connection)


async def test_concurrent_writers_of_the_same_rows_agree(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    chance = random.Random(7)
    sessions = [session_id() for _ in range(20)]

    def some() -> list[DueSession]:
        return [
            due(
                *((THIS_MINUTE + at, chance.randrange(1, FULL)) for at in range(5)),
                session=session,
                organization=f"org_{at % 3}",
                user=f"user_{at % 5}",
                row=chance.random() < 0.5,
            )
            for at, session in enumerate(sessions)
            if chance.random() < 0.7
        ]

    given = [some() for _ in range(24)]
    outcomes = await asyncio.gather(*(writer.write(batch) for batch in given))

    assert all(not outcome.refusals for outcome in outcomes)
    expected: dict[tuple[str, int], int] = {}
    for session in (session for batch in given for session in batch):
        for minute in session.minutes:
            place = (session.state.key.session_id, minute.minute)
            expected[place] = expected.get(place, 0) | minute.mask
    assert await stored_minutes(connection) == expected
    await assert_figures_follow_rows(connection)


@pytest.mark.parametrize(
    "bad",
    [
        due((THIS_MINUTE, 0)),
        due((THIS_MINUTE, 1 << 60)),
        due((THIS_MINUTE, 1 << 70)),
        due((THIS_MINUTE, 1), kind="nul \0 in it"),
        due((THIS_MINUTE, 1), user="lone \ud800 surrogate"),
        due((THIS_MINUTE, 1), session="not-a-uuid"),
        due((THIS_MINUTE, 1), user=secrets.token_hex(20_000)),
        due(((NOW + 400 * 86_400) // 60, 1)),
        due((10**13, 1)),
        due((THIS_MINUTE, 1), (THIS_MINUTE, 2)),
        due((THIS_MINUTE, 1), end_reason="without an end"),
    ],
    ids=[
        "no-second", "61st-second", "not-a-bigint", "nul", "surrogate", "not-a-uuid", "long-user",
        "month-far-ahead", "no-such-time", "minute-twice", "half-an-end",
    ],
)  # fmt: skip
async def test_a_refused_session_keeps_no_other_from_being_written(
    writer: Writer, connection: asyncpg.Connection, bad: DueSession
) -> None:
    good = [due((THIS_MINUTE, 0b11)) for _ in range(6)]
    outcome = await writer.write([*good[:4], bad, *good[4:]])

    assert [refusal.key for refusal in outcome.refusals] == [bad.state.key]
    assert outcome.refusals[0].error
    assert {settled.key for settled in outcome.settlements} == {s.state.key for s in good}
    assert outcome.rows == 6
    assert await connection.fetchval("SELECT count(*) FROM usage_tracking") == 6
    assert await connection.fetchval("SELECT count(*) FROM interview_sessions") == 6


async def test_refusals_do_not_repeat_the_rows_values(writer: Writer) -> None:
    outcome = await writer.write([due((THIS_MINUTE, 0), organization="org_secret")])
    assert "org_secret" not in outcome.refusals[0].error
    assert "violates check constraint" in outcome.refusals[0].error


async def test_a_missing_months_partition_is_made(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    old = month_start(2019, 3) // 60
    outcome = await writer.write([due((old - 1, 0b1), (old, 0b1)), due((THIS_MINUTE, 1))])

    assert not outcome.refusals
    assert len(await stored_minutes(connection)) == 3
    assert await connection.fetchval("SELECT count(*) FROM usage_tracking_2019_02") == 1
    assert await connection.fetchval("SELECT count(*) FROM usage_tracking_2019_03") == 1
    await assert_figures_follow_rows(connection)


async def test_partitions_are_made_ahead_by_several_at_once(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    month = f"usage_tracking_{datetime.now(UTC):%Y_%m}"
    await connection.execute(f"DROP TABLE {month}")
    made = await asyncio.gather(*(writer.make_partitions_ahead() for _ in range(4)))
    # The migrations make two months ahead, the writer three.
    assert sum(made) in (1, 2)
    assert await writer.make_partitions_ahead() == 0
    assert await connection.fetchval("SELECT to_regclass($1)::text", month) == month


async def test_a_stale_copy_of_a_session_does_not_overwrite_a_newer_one(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    session = session_id()
    ended = due(session=session, revision=7, ended_at=NOW + 60, end_reason="lost")
    await writer.write([ended])
    await writer.write([due((THIS_MINUTE, 0b1), session=session, revision=6)])

    row = await stored_session(connection, session)
    assert (row["revision"], row["end_reason"], row["seconds_recorded"]) == (7, "lost", 1)

    await writer.write([due(session=session, revision=8)])  # resumed
    row = await stored_session(connection, session)
    assert (row["revision"], row["ended_at"], row["end_reason"]) == (8, None, None)


async def test_the_total_is_right_whichever_comes_first(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    session = session_id()
    await writer.write([due((THIS_MINUTE, 0b111), session=session, row=False)])
    alone = await stored_session(connection, session)
    assert (alone["revision"], alone["seconds_recorded"]) == (0, 3)
    assert alone["started_at"].timestamp() == NOW

    await writer.write([due(session=session, origin=NOW + 2)])
    row = await stored_session(connection, session)
    assert (row["revision"], row["seconds_recorded"]) == (1, 3)
    assert row["started_at"].timestamp() == NOW + 2


@pytest.mark.parametrize("other", [{"user": "user_2"}, {"organization": "org_2"}])
async def test_another_accounts_session_is_refused(
    writer: Writer, connection: asyncpg.Connection, other: dict[str, str]
) -> None:
    session = session_id()
    await writer.write([due((THIS_MINUTE, 0b11), session=session, revision=5)])
    for row, mask, revision in itertools.product((True, False), (0b1, 0b11111), (4, 6)):
        theirs = due((THIS_MINUTE, mask), session=session, row=row, revision=revision, **other)
        outcome = await writer.write([theirs])
        assert [refusal.key for refusal in outcome.refusals] == [theirs.state.key]

    assert await stored_minutes(connection) == {(session, THIS_MINUTE): 0b11}
    stored = await stored_session(connection, session)
    assert (stored["user_id"], stored["organization_id"]) == ("user_1", "org_1")
    assert (stored["revision"], stored["seconds_recorded"]) == (5, 2)
    await assert_figures_follow_rows(connection)


METADATA: dict[str, object] = {
    "": {},
    "{}": {},
    '{"name": "Žofie 🎙", "n": [1, null]}': {"name": "Žofie 🎙", "n": [1, None]},
    r'{"a": "\u0000"}': {"unreadable": r'{"a": "\u0000"}'},
    r'{"a": "\ud800"}': {"unreadable": r'{"a": "\ud800"}'},
    '{"a": 1e999999}': {"unreadable": '{"a": 1e999999}'},
    "[1]": {"unreadable": "[1]"},
    "no json": {"unreadable": "no json"},
    "[" * 100_000: {"unreadable": "[" * 100_000},
}


async def test_no_metadata_keeps_seconds_from_being_written(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    given = {text: due((THIS_MINUTE, 1), metadata=text) for text in METADATA}
    outcome = await writer.write(list(given.values()))

    assert not outcome.refusals
    for text, session in given.items():
        stored = await stored_session(connection, session.state.key.session_id)
        assert json.loads(stored["metadata"]) == METADATA[text]
        assert stored["seconds_recorded"] == 1


async def test_metadata_stays_when_a_later_copy_comes_without(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    session = session_id()
    await writer.write([due(session=session, metadata='{"a": 1}')])
    await writer.write([due(session=session, revision=2)])
    assert (await stored_session(connection, session))["metadata"] == '{"a": 1}'


async def test_a_batch_is_written_as_a_whole_or_not_at_all(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await write(connection, [due((THIS_MINUTE, 1)), due((THIS_MINUTE, 0))])
    assert await connection.fetchval("SELECT count(*) FROM interview_sessions") == 0
    assert await write(connection, [due((THIS_MINUTE, 1))]) == 1


async def test_a_deadlocked_batch_is_written_again(
    writer: Writer, connection: asyncpg.Connection
) -> None:
    first, second = due((THIS_MINUTE, 1)), due((THIS_MINUTE, 1), user="user_2")
    await writer.write([first, second])
    lock = "SELECT 1 FROM monthly_usage_cache WHERE user_id = $1 FOR UPDATE"
    more = [
        replace(session, row_due=False, minutes=(Minute(THIS_MINUTE, 0b10),))
        for session in (first, second)
    ]
    await connection.execute("SET deadlock_timeout = '10s'")  # the writer is to be the victim
    async with connection.transaction():
        await connection.fetch(lock, "user_2")
        writing = asyncio.create_task(writer.write(more))
        await until_somebody_waits(connection)
        await connection.fetch(lock, "user_1")
    outcome = await writing
    assert not outcome.refusals
    assert set((await stored_minutes(connection)).values()) == {0b11}
    await assert_figures_follow_rows(connection)


def test_batches_keep_sessions_whole() -> None:
    sessions = [due(*((THIS_MINUTE + at, 1) for at in range(length))) for length in (0, 3, 9, 1, 1)]
    parts = list(batches(sessions, 5))
    assert [session for part in parts for session in part] == sessions
    assert [len(part) for part in parts] == [2, 1, 2]
    assert list(batches([], 5)) == []
