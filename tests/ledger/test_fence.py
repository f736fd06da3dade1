"""A gateway doesn't count on a server that may have gone back in time: real Valkey."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meter.ledger.driver import Ledger
from meter.ledger.fence import PATIENCE_SECONDS, Fence
from meter.ledger.types import LedgerUnavailable
from tests.ledger.servers import Valkey

pytestmark = pytest.mark.integration


class Time:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def valkey(tmp_path: Path) -> Valkey:
    return Valkey(tmp_path / "valkey")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def auditor(valkey: Valkey) -> AsyncIterator[Ledger]:
    """Who compares passes no fence."""
    with valkey:
        ledger = Ledger.connect(valkey.url)
        yield ledger
        await ledger.aclose()


@pytest.fixture
async def gateway(valkey: Valkey, auditor: Ledger, time: Time) -> AsyncIterator[Ledger]:
    ledger = Ledger.connect(valkey.url, fence=Fence(now=time))
    yield ledger
    await ledger.aclose()


async def start_anew(valkey: Valkey, auditor: Ledger) -> None:
    """All is compared, and then the server is started anew, with that from its file."""
    compared = await auditor.incarnation()
    valkey.kill()
    valkey.start()
    await auditor.note_compared(compared)


async def test_a_server_that_nobody_compared_yet_is_counted_on(
    auditor: Ledger, gateway: Ledger
) -> None:
    assert await auditor.compared() is None
    await gateway.ping()  # it would raise
    assert gateway.generation == 1


async def test_one_that_was_started_anew_is_counted_on_once_its_figures_are_compared(
    valkey: Valkey, auditor: Ledger, gateway: Ledger
) -> None:
    await gateway.ping()
    await start_anew(valkey, auditor)
    for _ in range(3):
        with pytest.raises(LedgerUnavailable, match="being compared"):
            await gateway.ping()
    assert await auditor.compared() != await auditor.incarnation()
    await auditor.note_compared(await auditor.incarnation())
    await gateway.ping()


async def test_a_gateway_that_is_new_waits_as_well(
    valkey: Valkey, auditor: Ledger, gateway: Ledger
) -> None:
    await start_anew(valkey, auditor)
    with pytest.raises(LedgerUnavailable, match="being compared"):
        await gateway.ping()


async def test_where_nobody_compares_it_is_counted_on_after_a_while(
    valkey: Valkey, auditor: Ledger, gateway: Ledger, time: Time
) -> None:
    await start_anew(valkey, auditor)
    with pytest.raises(LedgerUnavailable):
        await gateway.ping()
    time.now += PATIENCE_SECONDS
    await gateway.ping()


async def test_one_that_lost_all_has_no_figures_to_compare(
    valkey: Valkey, auditor: Ledger, gateway: Ledger
) -> None:
    await start_anew(valkey, auditor)
    with valkey.client() as client:
        client.flushall()
    assert await auditor.compared() is None
    await gateway.ping()  # it would raise
    assert gateway.generation == 1


async def test_a_connection_to_a_server_whose_place_another_has_taken_is_given_up(
    valkey: Valkey, auditor: Ledger
) -> None:
    fence = Fence()
    gateway = Ledger.connect(valkey.url, fence=fence)
    await gateway.ping()
    with valkey.client() as client:
        before = client.info("stats")["total_connections_received"]
        await gateway.ping()
        assert client.info("stats")["total_connections_received"] == before
        fence.generation += 1  # as when another connection has met another server
        await gateway.ping()
        assert client.info("stats")["total_connections_received"] == before + 1
    await gateway.aclose()


async def test_a_server_that_was_started_anew_is_of_another_generation(
    valkey: Valkey, auditor: Ledger, gateway: Ledger
) -> None:
    await gateway.ping()
    first = gateway.generation
    await gateway.ping()
    assert gateway.generation == first
    valkey.kill()
    valkey.start()
    await gateway.ping()
    assert gateway.generation == first + 1
    assert auditor.generation == 0
