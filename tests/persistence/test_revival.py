"""Sessions that a ledger lost, and that nobody brings back: between a real Valkey and Postgres."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gateway.opener import Opener
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.types import (
    CountItem,
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
)
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.revival import Reviver
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.ledger.servers import Valkey
from tests.persistence.builders import session_id, stored_session
from tests.persistence.test_end_to_end import flusher_process

pytestmark = pytest.mark.integration

LOST_AFTER_SECONDS = 1


@pytest.fixture
def valkey(tmp_path: Path) -> Valkey:
    return Valkey(tmp_path / "valkey")


@pytest.fixture
async def ledger(valkey: Valkey) -> AsyncIterator[Ledger]:
    with valkey:
        rules = Rules(future_seconds=100, lost_after_seconds=LOST_AFTER_SECONDS)
        ledger = Ledger.connect(valkey.url, rules)
        yield ledger
        await ledger.aclose()


class Scene:
    def __init__(self, ledger: Ledger, storage: PostgresStorage, database: Database) -> None:
        self.ledger, self.storage, self.database = ledger, storage, database
        self.opener = Opener(ledger, storage)
        self.flusher = Flusher(ledger, Writer(database))
        self.reviver = Reviver(ledger, database, quiet_seconds=0)

    async def record(self, organization: str = "org_1", seconds: int = 70) -> SessionKey:
        """A session whose first minute, and row, are in Postgres."""
        key = SessionKey(organization, session_id())
        opened = await self.opener.open(OpenRequest(key, "user_1", "recording", 1), None)
        assert opened.status is OpenStatus.CREATED
        await self.ledger.count([CountItem(key, ((0, seconds - 1),))])
        await self.flusher.flush()
        return key

    async def pass_lost_after(self) -> None:
        await asyncio.sleep(LOST_AFTER_SECONDS + 1.1)

    async def age(self, connection: asyncpg.Connection) -> None:
        """All that is in Postgres began two hours ago."""
        await connection.execute(
            "UPDATE interview_sessions SET started_at = started_at - interval '2 hours'"
        )


@pytest.fixture
def scene(ledger: Ledger, storage: PostgresStorage, database: Database) -> Scene:
    return Scene(ledger, storage, database)


async def test_a_session_that_nobody_speaks_for_ends_as_lost_though_the_ledger_was_emptied(
    scene: Scene, valkey: Valkey, connection: asyncpg.Connection
) -> None:
    key = await scene.record()
    await scene.age(connection)
    with valkey.client() as client:
        client.flushall()
    assert await scene.reviver.look() == 1
    await scene.flusher.flush()
    assert (await stored_session(connection, key.session_id))["ended_at"] is None
    await scene.pass_lost_after()
    await scene.flusher.flush()
    row = await stored_session(connection, key.session_id)
    assert row["end_reason"] == EndReason.LOST
    assert time.time() - row["ended_at"].timestamp() < 5
    assert await scene.reviver.look() == 0


async def test_its_recorder_can_go_on_with_it_before_and_after_that(
    scene: Scene, valkey: Valkey, connection: asyncpg.Connection
) -> None:
    before, after = await scene.record(), await scene.record()
    await scene.age(connection)
    with valkey.client() as client:
        client.flushall()
    assert await scene.reviver.look() == 2
    opened = await scene.opener.open(OpenRequest(before, "user_1", "recording", 2), None)
    assert opened.status is OpenStatus.RESUMED
    await scene.pass_lost_after()
    await scene.flusher.flush()
    with valkey.client() as client:
        client.flushall()  # so that Postgres alone knows of the end
    opened = await scene.opener.open(OpenRequest(after, "user_1", "recording", 2), None)
    assert opened.status is OpenStatus.RESUMED
    await scene.flusher.flush()
    assert (await stored_session(connection, after.session_id))["ended_at"] is None


async def test_a_session_that_the_ledger_knows_is_left_alone(
    scene: Scene, connection: asyncpg.Connection
) -> None:
    key = await scene.record()
    await scene.age(connection)
    (before,) = await scene.ledger.recall([key])
    await scene.pass_lost_after()
    assert await scene.reviver.look() == 0
    assert await scene.ledger.recall([key]) == [before]
    await scene.flusher.flush()  # looking was no sign of life of its own
    assert (await stored_session(connection, key.session_id))["end_reason"] == EndReason.LOST


async def test_a_session_with_rows_of_late_or_that_began_just_now_is_left_alone(
    scene: Scene, valkey: Valkey, connection: asyncpg.Connection
) -> None:
    await scene.record()
    with valkey.client() as client:
        client.flushall()
    reviver = Reviver(scene.ledger, scene.database, quiet_seconds=120)
    assert await reviver.look() == 0
    await scene.age(connection)
    await connection.execute(
        "INSERT INTO usage_tracking (session_id, organization_id, user_id, minute_timestamp,"
        " seconds_mask) SELECT session_id, organization_id, user_id,"
        " date_trunc('minute', now()) - interval '1 minute', 1 FROM interview_sessions"
    )
    assert await reviver.look() == 0


async def test_all_of_them_are_looked_at_in_turns(
    scene: Scene, valkey: Valkey, connection: asyncpg.Connection
) -> None:
    for number in range(5):
        await scene.record(f"org_{number % 3}")
    await scene.age(connection)
    with valkey.client() as client:
        client.flushall()
    assert [await scene.reviver.look(2) for _ in range(4)] == [2, 2, 1, 0]


async def test_nothing_is_missed_while_the_ledger_is_away(
    scene: Scene, valkey: Valkey, connection: asyncpg.Connection
) -> None:
    await scene.record()
    await scene.age(connection)
    valkey.kill()
    with pytest.raises(LedgerUnavailable):
        await scene.reviver.look()
    valkey.start()
    assert await scene.reviver.look() == 1


async def test_the_flushers_process_does_it_when_it_starts(
    scene: Scene, valkey: Valkey, connection: asyncpg.Connection, database_url: str
) -> None:
    key = await scene.record()
    await scene.age(connection)
    with valkey.client() as client:
        client.flushall()
    async with flusher_process(database_url, valkey.url), asyncio.timeout(60):
        while await scene.ledger.recall([key]) == [None]:  # noqa: ASYNC110  # by another process
            await asyncio.sleep(0.05)
