"""The pages that systems A and B ask for, in a real Chromium against all that is real."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import pytest
from playwright.sync_api import Page, expect

from command.embedded import EmbeddedPostgres
from command.embedded.files import free_port
from meter.ledger.driver import Ledger
from persistence.limits import set_limit
from persistence.storage import PostgresStorage
from tests.gateway.serving import Recorder, recording, serving, token
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

pytestmark = [pytest.mark.browser, pytest.mark.integration]

Result = TypeVar("Result")


class House:
    """A gateway on a Valkey and a Postgres, in a thread: Playwright has a loop in the test's."""

    def __init__(self, valkey: Valkey, postgres: EmbeddedPostgres) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._served = self._serve(valkey, postgres)
        self.do(self._served.__aenter__())

    @asynccontextmanager
    async def _serve(self, valkey: Valkey, postgres: EmbeddedPostgres) -> AsyncIterator[None]:
        async with cloned(postgres, "template0") as self.database_url:
            await migrate_at(self.database_url)
            storage = PostgresStorage(self.database_url)
            async with serving(
                Ledger.connect(valkey.url),
                storage,
                DATABASE_URL=self.database_url,
                PORT=self.port,
                METER_ALLOWED_ORIGINS=self.url,
                METER_DRAIN_SECONDS=0,
            ) as self.served:
                yield
            await storage.aclose()

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something beside the gateway."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        """Stop everything."""
        self.do(self._served.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def limit(self, organization: str, seconds: int) -> None:
        """A limit of its own, before anything of it is known."""
        self.do(set_limit(self.database_url, organization, None, seconds))

    def sql(self, query: str) -> None:
        """Run a statement."""

        async def run() -> None:
            connection = await asyncpg.connect(self.database_url)
            await connection.execute(query)
            await connection.close()

        self.do(run())

    def link(self, page: str, organization: str) -> str:
        """A page's address with a token for it."""
        return f"{self.url}/{page}#token={token(organization, 'ann')}"

    @asynccontextmanager
    async def recorder(self, organization: str) -> AsyncIterator[Recorder]:
        """A live session that began 10 minutes ago."""
        async with recording(self.served, organization) as recorder:
            bearer = token(organization, "ann")
            await recorder.start(token=bearer, origin=int(time.time()) - 600)
            yield recorder


@pytest.fixture
def house(own_valkey: Valkey, postgres_server: EmbeddedPostgres) -> Iterator[House]:
    with own_valkey.client() as client:
        client.flushdb()
    house = House(own_valkey, postgres_server)
    yield house
    house.close()


def test_a_display_for_the_person_recording_has_time_the_months_bar_and_marks(
    page: Page, house: House, complaints: list[str]
) -> None:
    house.limit("acme", 604)
    page.goto(house.link("recorder", "acme"))
    page.get_by_test_id("record").click()
    expect(page.get_by_test_id("session-time")).to_have_text("00:02", timeout=10_000)
    bar = page.get_by_test_id("usage-bar")
    expect(bar).to_have_attribute("role", "progressbar")
    expect(bar).to_have_attribute("aria-valuetext", re.compile(r"^\d+ s of 10 min 4 s$"))
    expect(page.get_by_test_id("usage-mark")).to_have_text("Near the limit")
    page.get_by_test_id("stop").click()
    expect(page.get_by_test_id("phase")).to_have_text("Recorded")
    assert complaints == []


def test_page_usage_has_live_usage_bars_subscription_status_and_an_upgrade_prompt(
    page: Page, house: House, complaints: list[str]
) -> None:
    house.sql("SELECT ensure_user_exists('ann')")
    house.limit("ann", 700)
    page.goto(house.link("usage", "ann"))
    expect(page.get_by_test_id("plan")).to_contain_text("Starter")
    expect(page.get_by_test_id("status")).to_have_text("Active")
    expect(page.get_by_test_id("upgrade")).to_be_hidden()
    recorder = house.recorder("ann")
    live = house.do(recorder.__aenter__())
    house.do(live.hear(0, 568))
    expect(page.get_by_test_id("usage-amount")).to_have_text("9 min 29 s")
    expect(page.get_by_test_id("usage-bar")).to_have_attribute("aria-valuenow", "81")
    expect(page.get_by_test_id("session")).to_have_count(1)
    expect(page.get_by_test_id("upgrade")).to_be_visible()
    expect(page.get_by_test_id("days").get_by_role("listitem").first).to_be_visible()
    house.do(recorder.__aexit__(None, None, None))
    assert complaints == []
