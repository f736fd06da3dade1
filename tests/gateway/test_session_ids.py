"""A session's id belongs to one account, whichever partition another is in.

Between a real Valkey and a real Postgres.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from command.embedded import EmbeddedPostgres
from gateway.admission import not_opened
from gateway.opener import Opener
from meter.codes import CloseCode
from meter.ledger.driver import Ledger
from meter.ledger.keys import partition_of
from meter.ledger.types import OpenRequest, OpenStatus, SessionKey, StorageUnavailable
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

pytestmark = pytest.mark.integration

MINE, THEIRS = "acme", "globex"


class Scene:
    def __init__(self, valkey: Valkey, url: str) -> None:
        self.valkey = valkey
        self.ledger, self.storage = Ledger.connect(valkey.url), PostgresStorage(url)
        self.database = Database(url, name="test", max_connections=1)
        self.flusher = Flusher(self.ledger, Writer(self.database))
        self.opener = Opener(self.ledger, self.storage)
        self.session_id = str(uuid4())

    async def open(self, organization: str, session_id: str | None = None) -> OpenStatus:
        key = SessionKey(organization, session_id or self.session_id)
        return (await self.opener.open(OpenRequest(key, "ann", "recording", 1), None)).status

    async def aclose(self) -> None:
        for part in (self.database, self.ledger, self.storage):
            await part.aclose()


@pytest.fixture
async def scene(postgres_server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Scene]:
    assert partition_of(MINE) != partition_of(THEIRS)
    with Valkey(tmp_path / "valkey") as valkey:
        async with cloned(postgres_server, "template0") as url:
            await migrate_at(url)
            scene = Scene(valkey, url)
            assert await scene.open(MINE) is OpenStatus.CREATED
            yield scene
            await scene.aclose()


@pytest.mark.parametrize("emptied", [False, True])
async def test_another_organizations_session_is_refused_as_postgres_knows_it(
    scene: Scene, emptied: bool
) -> None:
    await scene.flusher.flush()
    if emptied:
        with scene.valkey.client() as client:
            client.flushall()
    assert await scene.open(THEIRS) is OpenStatus.FOREIGN
    assert not_opened(OpenStatus.FOREIGN).close is CloseCode.NOT_ALLOWED
    assert await scene.open(MINE) is OpenStatus.RESUMED


async def test_before_postgres_knows_it_an_id_is_the_first_ones_who_came_with_it(
    scene: Scene,
) -> None:
    assert await scene.open(THEIRS) is OpenStatus.FOREIGN
    another_gateway = Opener(scene.ledger, scene.storage)
    key = SessionKey(THEIRS, scene.session_id)
    request = OpenRequest(key, "bob", "recording", 1)
    origin = int(time.time()) - 60  # as a recorder claims it, or a minute that is tracked by HTTP
    assert (await another_gateway.open(request, None, origin)).status is OpenStatus.FOREIGN
    assert await scene.open(MINE) is OpenStatus.RESUMED


async def test_of_many_who_come_with_one_new_id_at_once_one_gets_it(scene: Scene) -> None:
    organizations = [f"org_{number}" for number in range(20)]
    session_id = str(uuid4())
    statuses = await asyncio.gather(*(scene.open(each, session_id) for each in organizations))
    assert sorted(statuses) == sorted([OpenStatus.CREATED] + [OpenStatus.FOREIGN] * 19)


async def test_while_postgres_is_away_the_ledger_tells(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await scene.open(THEIRS, str(uuid4())) is OpenStatus.CREATED  # both are known from here

    async def away(session_id: str) -> None:
        raise StorageUnavailable("the test took it down")

    monkeypatch.setattr(scene.storage, "load_session", away)
    assert await scene.open(THEIRS) is OpenStatus.FOREIGN
    assert await scene.open(MINE) is OpenStatus.RESUMED
    assert await scene.open(THEIRS, str(uuid4())) is OpenStatus.CREATED
