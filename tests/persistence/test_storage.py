"""What the gateways read back from Postgres."""

import asyncio
import uuid

import asyncpg
import pytest

from command.embedded import EmbeddedPostgres
from meter.ledger.types import Minute, StorageUnavailable
from meter.periods import around, month_of
from persistence.storage import PostgresStorage
from persistence.writer import Writer, write
from tests.persistence.builders import (
    FULL,
    NOW,
    THIS_MINUTE,
    due,
    session_id,
    until_somebody_waits,
)

pytestmark = pytest.mark.integration


async def test_an_unknown_session_is_none(storage: PostgresStorage) -> None:
    assert await storage.load_session(str(uuid.uuid4())) is None


async def test_a_session_comes_back_as_it_was_written(
    storage: PostgresStorage, writer: Writer
) -> None:
    session = session_id()
    minutes = ((THIS_MINUTE + 2, 0b101), (THIS_MINUTE, FULL & ~0b111))
    written = due(
        *minutes,
        session=session,
        origin=NOW + 3,
        revision=5,
        kind="interview",
        ended_at=NOW + 200,
        end_reason="lost",
    )
    await writer.write([written])

    stored = await storage.load_session(session)

    assert stored is not None
    assert stored.minutes == tuple(Minute(*minute) for minute in sorted(minutes))
    state = stored.state
    assert state.key == written.state.key
    assert (state.user_id, state.kind, state.origin, state.revision) == (
        "user_1",
        "interview",
        NOW + 3,
        5,
    )
    assert (state.ended_at, state.end_reason) == (NOW + 200, "lost")
    assert (state.seconds, state.highest, state.durable_through) == (59, 119, 119)


async def test_a_session_without_minutes_has_counted_nothing(
    storage: PostgresStorage, writer: Writer
) -> None:
    written = due()
    await writer.write([written])
    stored = await storage.load_session(written.state.key.session_id)
    assert stored is not None
    assert stored.minutes == ()
    assert (stored.state.seconds, stored.state.highest, stored.state.ended_at) == (0, -1, None)


async def test_seconds_before_the_origin_are_not_of_the_session(
    storage: PostgresStorage, writer: Writer
) -> None:
    """An id that was used before, started anew while Postgres was away."""
    session = session_id()
    await writer.write([due((THIS_MINUTE - 60, FULL), (THIS_MINUTE, 0b11), session=session)])
    await writer.write([due((THIS_MINUTE, 0b1000), session=session, origin=NOW + 2, revision=2)])
    stored = await storage.load_session(session)
    assert stored is not None
    assert (stored.state.seconds, stored.state.highest) == (1, 1)
    assert stored.minutes == (Minute(THIS_MINUTE, 0b1011),)


async def test_minutes_without_a_session_row_have_revision_zero(
    storage: PostgresStorage, writer: Writer
) -> None:
    written = due((THIS_MINUTE, 0b11), row=False)
    await writer.write([written])
    stored = await storage.load_session(written.state.key.session_id)
    assert stored is not None
    assert (stored.state.revision, stored.state.seconds) == (0, 2)
    account = await storage.load_account("org_1", "user_1", NOW)
    assert account.live == ()
    assert account.member_used[1] == 2


async def test_an_account_without_rows_has_zeros(storage: PostgresStorage) -> None:
    account = await storage.load_account("nobody", "nobody", NOW)
    assert account.periods == around(NOW)
    assert account.organization_used == account.member_used == (0, 0, 0)
    assert account.live == ()


async def test_an_accounts_figures_and_live_sessions(
    storage: PostgresStorage, writer: Writer
) -> None:
    this = month_of(NOW)
    before = this.start // 60 - 1
    mine = due((THIS_MINUTE, 0b111), (before, FULL), origin=before * 60)
    colleague = due((THIS_MINUTE, 0b1), user="user_2")
    ended = due((THIS_MINUTE, 0b11), ended_at=NOW + 9, end_reason="stopped")
    elsewhere = due((THIS_MINUTE, FULL), organization="org_2")
    await writer.write([mine, colleague, ended, elsewhere])

    account = await storage.load_account("org_1", "user_1", NOW)

    assert account.organization_used == (60, 6, 0)
    assert account.member_used == (60, 5, 0)
    live = {stored.state.key: stored for stored in account.live or ()}
    assert live.keys() == {mine.state.key, colleague.state.key}
    assert live[mine.state.key].state.seconds == 63
    assert live[mine.state.key].minutes == (Minute(before, FULL), Minute(THIS_MINUTE, 0b111))


async def test_figures_and_live_sessions_are_of_one_moment(
    storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    """A flush that commits between the reading of both is in neither."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE interview_sessions")
        loading = asyncio.create_task(storage.load_account("org_1", "user_1", NOW))
        await until_somebody_waits(connection)  # it has the figures, and comes to the sessions
        await write(connection, [due((THIS_MINUTE, FULL))])
    account = await loading
    assert (account.member_used, account.live) == ((0, 0, 0), ())
    account = await storage.load_account("org_1", "user_1", NOW)
    assert account.member_used == (0, 60, 0)
    assert account.live is not None
    assert account.live[0].state.seconds == 60


async def test_live_sessions_are_left_out_where_they_are_not_needed(
    storage: PostgresStorage, writer: Writer
) -> None:
    await writer.write([due((THIS_MINUTE, 0b111))])
    account = await storage.load_account("org_1", "user_1", NOW, with_live=False)
    assert (account.member_used, account.live) == ((0, 3, 0), None)


async def test_ping_wants_the_schema(storage: PostgresStorage, empty_database_url: str) -> None:
    await storage.ping()
    empty = PostgresStorage(empty_database_url)
    with pytest.raises(StorageUnavailable, match="run `meter migrate`"):
        await empty.ping()
    with pytest.raises(StorageUnavailable):
        await empty.load_session(str(uuid.uuid4()))
    await empty.aclose()


async def test_it_starts_without_postgres_and_comes_back_with_it(
    private_server: EmbeddedPostgres,
) -> None:
    private_server.stop()
    storage = PostgresStorage(private_server.url, timeout_seconds=10.0)
    with pytest.raises(StorageUnavailable) as caught:
        await storage.ping()
    assert caught.value.__cause__ is not None
    private_server.restart()
    await storage.ping()
    private_server.kill()
    with pytest.raises(StorageUnavailable):
        await storage.load_account("org_1", "user_1", NOW)
    private_server.restart()
    account = await storage.load_account("org_1", "user_1", NOW)
    assert account.organization_used == (0, 0, 0)
    await storage.aclose()


async def test_a_statement_that_hangs_is_given_up(
    database_url: str, connection: asyncpg.Connection
) -> None:
    storage = PostgresStorage(database_url, timeout_seconds=1.0)
    await storage.ping()
    async with connection.transaction():
        await connection.execute("LOCK TABLE interview_sessions")
        with pytest.raises(StorageUnavailable):
            await storage.load_session(str(uuid.uuid4()))
    assert await storage.load_session(str(uuid.uuid4())) is None
    await storage.aclose()
