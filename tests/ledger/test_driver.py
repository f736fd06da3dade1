"""The ledger's driver: the functions are there when needed, and faults have one name."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import fakeredis
import pytest
import redis.asyncio

from command.embedded import EmbeddedValkey
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.keys import PARTITIONS, partition_of
from meter.ledger.types import (
    AccountFigures,
    CollectStatus,
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
)
from meter.periods import around
from tests.ledger.servers import Valkey, join

TIMEOUT_SECONDS = 1.0


async def _open(ledger: Ledger, organization_id: str) -> SessionKey:
    key = SessionKey(organization_id, str(uuid4()))
    zeros = (0, 0, 0)
    await ledger.seed_account(
        AccountFigures(organization_id, "ann", around(int(time.time())), zeros, zeros)
    )
    opened = await ledger.open(OpenRequest(key, "ann", "recording", 1, "{}", create=True))
    assert opened.status is OpenStatus.CREATED
    return key


async def _count(ledger: Ledger, *keys: SessionKey) -> list[Counted]:
    return await ledger.count([CountItem(key, ((0, 1),)) for key in keys])


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, empty."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def ledger(valkey: Valkey) -> AsyncIterator[Ledger]:
    ledger = Ledger.connect(valkey.url, timeout_seconds=TIMEOUT_SECONDS)
    yield ledger
    await ledger.aclose()


async def _assert_the_functions_come_when_first_needed(ledger: Ledger) -> None:
    key = await _open(ledger, "org")
    (counted,) = await _count(ledger, key)
    assert (counted.status, counted.new, counted.seconds) == (CountStatus.COUNTED, 2, 2)
    await ledger.ping()


async def test_functions_are_loaded_when_first_needed_on_fakeredis() -> None:
    ledger = Ledger(fakeredis.FakeAsyncRedis(), Rules())
    await _assert_the_functions_come_when_first_needed(ledger)
    await ledger.aclose()


@pytest.mark.integration
async def test_functions_are_loaded_when_first_needed(ledger: Ledger) -> None:
    await _assert_the_functions_come_when_first_needed(ledger)


@pytest.mark.integration
async def test_functions_that_were_flushed_come_back_within_the_call(
    ledger: Ledger, valkey: Valkey
) -> None:
    key = await _open(ledger, "org")
    with valkey.client() as client:
        client.function_flush()
    assert (await _count(ledger, key))[0].new == 2
    with valkey.client() as client:
        client.function_flush()
    assert len(await ledger.collect(range(PARTITIONS), "flusher", 1.0, 10)) == PARTITIONS


@pytest.mark.integration
async def test_a_dead_server_is_unavailable_and_one_that_came_back_empty_works(
    ledger: Ledger, valkey: Valkey
) -> None:
    key = await _open(ledger, "org")
    valkey.kill()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            await _count(ledger, key)
    valkey.start()
    assert (await _count(ledger, key))[0].status is CountStatus.ABSENT
    assert (await _count(ledger, await _open(ledger, "org")))[0].new == 2


@pytest.mark.integration
async def test_a_server_restarted_between_two_calls_is_not_noticed(
    ledger: Ledger, valkey: Valkey
) -> None:
    await _open(ledger, "org")
    valkey.kill()
    valkey.start()
    assert (await _count(ledger, await _open(ledger, "org")))[0].new == 2


@pytest.mark.integration
async def test_a_stalled_server_is_unavailable_within_the_timeout_and_asked_once(
    ledger: Ledger, valkey: Valkey
) -> None:
    key = await _open(ledger, "org")
    with valkey.client() as client:
        client.config_resetstat()
        valkey.stall()
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            await _count(ledger, key)
        waited = time.monotonic() - started
        valkey.go_on()
        assert TIMEOUT_SECONDS <= waited < 10 * TIMEOUT_SECONDS
        statistics = client.info("commandstats")
        assert statistics["cmdstat_fcall"]["calls"] == 1
    again = (await _count(ledger, key))[0]
    assert (again.new, again.seconds) == (0, 2)


async def test_nobody_listening_is_unavailable() -> None:
    ledger = Ledger.connect("redis://127.0.0.1:1/0", timeout_seconds=TIMEOUT_SECONDS)
    with pytest.raises(LedgerUnavailable):
        await ledger.ping()
    await ledger.aclose()


@pytest.mark.integration
async def test_a_valkey_url_is_a_redis_url(valkey: Valkey) -> None:
    ledger = Ledger.connect(valkey.url.replace("redis://", "valkey://"))
    await _assert_the_functions_come_when_first_needed(ledger)
    await ledger.aclose()
    with valkey.client() as client:
        assert client.dbsize() > 0


@pytest.mark.integration
async def test_a_wrong_password_is_unavailable_and_not_repeated(
    valkey_server: EmbeddedValkey,
) -> None:
    ledger = Ledger.connect(f"redis://:s3cret@127.0.0.1:{valkey_server.port}/0")
    with pytest.raises(LedgerUnavailable) as caught:
        await ledger.ping()
    assert "s3cret" not in str(caught.value)
    await ledger.aclose()


@pytest.mark.integration
async def test_a_server_that_must_not_write_is_unavailable(ledger: Ledger, valkey: Valkey) -> None:
    key = await _open(ledger, "org")
    with valkey.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(LedgerUnavailable):
            await _count(ledger, key)
        client.config_set("maxmemory", "0")
    assert (await _count(ledger, key))[0].new == 2


@pytest.mark.integration
async def test_a_lease_runs_out_or_is_given_back(ledger: Ledger, valkey: Valkey) -> None:
    async def collect(flusher_id: str, lease_seconds: float) -> CollectStatus:
        (answer,) = await ledger.collect([3], flusher_id, lease_seconds, 10)
        return answer.status

    assert await collect("one", 60) is CollectStatus.MINE
    assert await collect("other", 60) is CollectStatus.LEASED
    await ledger.release([3], "other")
    assert await collect("other", 60) is CollectStatus.LEASED
    await ledger.release([3], "one")
    assert await collect("other", 0.05) is CollectStatus.MINE
    with valkey.client() as client:
        deadline = time.monotonic() + 30
        while client.exists("mm:{03}:lease"):
            assert time.monotonic() < deadline
    assert await collect("one", 60) is CollectStatus.MINE


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Valkey]]:
    """Three primaries."""
    directory = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        nodes = [Valkey(directory / str(number), cluster=True) for number in range(3)]
        for node in nodes:
            stack.enter_context(node)
        join(nodes)
        yield nodes


@pytest.fixture
async def cluster_ledger(cluster: list[Valkey]) -> AsyncIterator[Ledger]:
    ledger = Ledger.connect(cluster[1].url, timeout_seconds=TIMEOUT_SECONDS)
    yield ledger
    await ledger.aclose()


@pytest.mark.integration
async def test_a_cluster_counts_a_batch_over_all_partitions(cluster_ledger: Ledger) -> None:
    keys = [await _open(cluster_ledger, f"org_{number}") for number in range(150)]
    assert len({partition_of(key.organization_id) for key in keys}) > PARTITIONS / 2
    again = [*reversed(keys), *keys]
    assert [each.new for each in await _count(cluster_ledger, *again)] == [2] * 150 + [0] * 150
    assert (await cluster_ledger.backlog()).live_sessions == 150
    state = await cluster_ledger.close(keys[7], EndReason.STOPPED)
    assert state is not None
    assert state.seconds == 2


@pytest.mark.integration
async def test_the_very_first_call_on_a_cluster_may_be_a_batch(cluster_ledger: Ledger) -> None:
    keys = [SessionKey(f"org_{number}", "unknown") for number in range(100)]
    answers = await _count(cluster_ledger, *keys)
    assert {answer.status for answer in answers} == {CountStatus.ABSENT}


@pytest.mark.integration
async def test_functions_missing_on_one_node_of_a_cluster_are_loaded_there(
    cluster_ledger: Ledger, cluster: list[Valkey]
) -> None:
    keys = [SessionKey(f"org_{number}", "unknown") for number in range(100)]
    for node in cluster:
        await _count(cluster_ledger, *keys)
        with node.client() as client:
            client.function_flush()
        assert len(await _count(cluster_ledger, *keys)) == 100


@pytest.mark.integration
async def test_a_stalled_node_of_a_cluster_is_unavailable_and_then_works_again(
    cluster_ledger: Ledger, cluster: list[Valkey]
) -> None:
    keys = [SessionKey(f"org_{number}", "unknown") for number in range(100)]
    await _count(cluster_ledger, *keys)
    cluster[2].stall()
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        await _count(cluster_ledger, *keys)
    waited = time.monotonic() - started
    cluster[2].go_on()
    assert waited < 20 * TIMEOUT_SECONDS
    assert len(await _count(cluster_ledger, *keys)) == 100


@pytest.mark.integration
async def test_a_ledger_may_be_given_a_client(valkey: Valkey) -> None:
    client = redis.asyncio.Redis(port=valkey.port)
    ledger = Ledger(client, Rules())
    await ledger.prepare()
    assert len(await client.function_list()) == 1
    await _open(ledger, "org")
    assert await client.dbsize() > 0
    await ledger.aclose()
