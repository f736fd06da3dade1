"""A ledger that came back with older limits is told the present ones.

Between a real Valkey and a real Postgres.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meter.ledger.driver import Ledger
from meter.ledger.types import LookItem, Standing
from persistence import auditor as auditing
from persistence.auditor import Auditor
from persistence.database import Database
from persistence.limits import set_limit
from persistence.metrics import FlusherMetrics
from persistence.retelling import Retelling
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from tests.ledger.servers import Valkey

pytestmark = pytest.mark.integration


@pytest.fixture
def valkey(tmp_path: Path) -> Valkey:
    return Valkey(tmp_path / "valkey")


@pytest.fixture
async def ledger(valkey: Valkey) -> AsyncIterator[Ledger]:
    with valkey:
        ledger = Ledger.connect(valkey.url)
        yield ledger
        await ledger.aclose()


async def limits(ledger: Ledger) -> tuple[int, int]:
    """The organization's and the member's, as a session would be held to them."""
    (look,) = await ledger.look([LookItem("org_1", ("user_1",))])
    (standing,) = look.standings
    assert isinstance(standing, Standing)
    return standing.limit, standing.member_limit


class OldFile:
    """What a server had, for it to come back with."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        with valkey.client() as client:
            self._keys = [(name, client.dump(name)) for name in client.keys("mm:{*")]

    def come_back(self) -> None:
        """Another incarnation of the server, which lacks what was written since."""
        self._valkey.kill()
        self._valkey.start()
        with self._valkey.client() as client:
            for name, value in self._keys:
                assert isinstance(value, bytes)
                client.restore(name, 0, value)


async def test_a_server_that_is_back_with_an_old_file_gets_the_present_limits(
    valkey: Valkey,
    ledger: Ledger,
    database: Database,
    database_url: str,
    storage: PostgresStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auditing, "TURN_SECONDS", 0.02)
    stop = asyncio.Event()
    auditor = Auditor(ledger, database, FlusherMetrics())
    teller = LimitsTeller(ledger, database, auditor=auditor)
    tasks = [asyncio.create_task(each.run(stop)) for each in (auditor, teller)]
    await set_limit(database_url, "org_1", None, 600)
    await set_limit(database_url, "org_1", "user_1", 300)
    await ledger.seed_account(await storage.load_account("org_1", "user_1", int(time.time())))
    old = OldFile(valkey)
    await set_limit(database_url, "org_1", None, 60)
    await set_limit(database_url, "org_1", "user_1", 30)
    await until_limits(ledger, (60, 30))
    old.come_back()
    assert await limits(ledger) == (600, 300)
    await until_limits(ledger, (60, 30))
    stop.set()
    await asyncio.gather(*tasks)


async def until_limits(ledger: Ledger, wanted: tuple[int, int]) -> None:
    async with asyncio.timeout(30):
        while await limits(ledger) != wanted:  # noqa: ASYNC110  # by another process
            await asyncio.sleep(0.02)


async def test_the_limits_of_many_are_told_again_in_turns_and_once(
    ledger: Ledger, database: Database, database_url: str
) -> None:
    for number in range(5):
        await set_limit(database_url, f"org_{number}", None, 60)
    teller, retelling = LimitsTeller(ledger, database), Retelling(database)
    assert await teller.tell() == 5
    retelling.begin()
    told = []
    while retelling.is_going_on:
        await retelling.go_on(2)
        told.append(await teller.tell())
    assert told == [2, 2, 1, 0]
    await retelling.go_on(2)
    assert await teller.tell() == 0


async def test_a_limit_that_is_untold_already_is_told_once(
    ledger: Ledger, database: Database, database_url: str
) -> None:
    teller, retelling = LimitsTeller(ledger, database), Retelling(database)
    await set_limit(database_url, "org_1", None, 60)
    await teller.tell()
    await set_limit(database_url, "org_1", None, 90)
    retelling.begin()
    await retelling.go_on()
    assert [await teller.tell(), await teller.tell()] == [1, 0]
