"""The pages that systems A, B and E ask for, in a real Chromium against all that is real."""

import asyncio
import csv
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import pytest
from playwright.sync_api import Page, expect

from command.embedded import EmbeddedPostgres
from command.embedded.files import free_port
from meter.ledger.driver import Ledger
from meter.periods import date_of, start_of_day
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.limits import set_limit
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.calm import calm_zone
from tests.gateway.serving import Recorder, recording, serving, token
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

pytestmark = [pytest.mark.browser, pytest.mark.integration]

Result = TypeVar("Result")

LONG_AGO = """
    INSERT INTO usage_tracking
        (session_id, organization_id, user_id, minute_timestamp, seconds_mask)
    VALUES
        (gen_random_uuid(), 'acme', 'zoe', date_trunc('minute', now() - interval '40 days'), 7)
"""


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

    def flush(self) -> None:
        """All that is counted is durable."""

        async def run() -> None:
            database = Database(self.database_url, name="test flusher", max_connections=2)
            await Flusher(self.served.parts.ledger, Writer(database)).flush()
            await database.aclose()

        self.do(run())

    def link(self, page: str, organization: str, **claims: object) -> str:
        """A page's address with a token for it."""
        return f"{self.url}/{page}#token={token(organization, 'ann', **claims)}"

    @asynccontextmanager
    async def recorder(self, organization: str, zone: str = "UTC") -> AsyncIterator[Recorder]:
        """A live session whose first 10 minutes are over, and all of them on one day there."""
        now = int(time.time())
        midnight = start_of_day(date_of(now, zone), zone)
        ended_by = now if now - midnight >= 600 else midnight
        async with recording(self.served, organization) as recorder:
            bearer = token(organization, "ann")
            await recorder.start(token=bearer, origin=ended_by - 600)
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
    expect(page.get_by_test_id("session-time")).to_have_text(re.compile(r"^00:(0[2-9]|\d\d)$"))
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
    zone = calm_zone()
    house.sql(f"INSERT INTO organizations (id, time_zone) VALUES ('ann', '{zone}')")
    house.sql("SELECT ensure_user_exists('ann')")
    house.limit("ann", 700)
    page.goto(house.link("usage", "ann"))
    expect(page.get_by_test_id("plan")).to_contain_text("Starter")
    expect(page.get_by_test_id("status")).to_have_text("Active")
    expect(page.get_by_test_id("upgrade")).to_be_hidden()
    recorder = house.recorder("ann", zone)
    live = house.do(recorder.__aenter__())
    house.do(live.hear(0, 568))
    expect(page.get_by_test_id("usage-amount")).to_have_text("9 min 29 s")
    expect(page.get_by_test_id("usage-bar")).to_have_attribute("aria-valuenow", "81")
    expect(page.get_by_test_id("session")).to_have_count(1)
    expect(page.get_by_test_id("upgrade")).to_be_visible()
    expect(page.get_by_test_id("days").get_by_role("listitem").first).to_be_visible()
    house.do(recorder.__aexit__(None, None, None))
    assert complaints == []


def test_next_step_an_analytics_page_for_operators(
    page: Page, house: House, complaints: list[str]
) -> None:
    house.sql("SELECT ensure_user_exists('ann')")
    recorder = house.recorder("ann")
    live = house.do(recorder.__aenter__())
    house.do(live.hear(0, 568))
    house.do(live.acked(568))
    house.do(live.send(type="stop"))
    house.do(live.closed())
    house.do(recorder.__aexit__(None, None, None))
    house.sql("SELECT track_usage('ann', 'interviews_per_day', 2)")
    house.flush()
    house.sql("SELECT ensure_usage_partitions(now() - interval '40 days', 1)")
    house.sql(LONG_AGO)
    page.goto(house.link("analytics", "operators", scope="admin"))
    page.get_by_label("Last 30 days").check()
    expect(page.get_by_test_id("answer")).to_contain_text("All organizations")
    for figure, text in {"minutes": "10", "sessions": "1", "users": "1"}.items():
        expect(page.get_by_test_id(figure)).to_have_text(text)
    expect(page.get_by_test_id("minutes-change")).to_have_text("+900 %, was 1")
    expect(page.get_by_test_id("days").locator("li")).to_have_count(30)
    expect(page.get_by_test_id("days-text")).to_contain_text("9 min 29 s")
    lines: dict[str, str | re.Pattern[str]] = {
        "organizations": "ann Starter 1 10",
        "plans": "Starter 1 of 1 10",
        "features": "Interviews per day Starter 1 2",
        "adoption": f"Interviews per day Starter, {datetime.now(UTC):%B %Y} 1 1 2",
        "gone": re.compile(r"^zoe\s+last on [^\n]+\s+40\s+1\s*$"),
        "power": re.compile(r"^ann\s+last on [^\n]+\s+1\s+10\s*$"),
    }
    for table, line in lines.items():
        row = page.get_by_test_id(table).locator("tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_have_text(line, use_inner_text=True)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    (day,) = csv.DictReader(saved.value.path().read_text().splitlines())
    assert (day["organization_id"], day["user_id"], day["seconds"]) == ("ann", "ann", "569")
    page.get_by_label("A row a").select_option("session")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download JSON").click()
    (session,) = json.loads(saved.value.path().read_text())
    assert session["session_id"] == live.session_id
    assert complaints == []
