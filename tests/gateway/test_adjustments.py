"""Manual adjustments in Postgres reach live sessions: two counters, a teller, a real Valkey."""

import asyncpg
import pytest

from meter.messages import Started
from tests.gateway.limited import ORGANIZATION, Gateways, seen, stops

pytestmark = pytest.mark.integration


async def adjust(gateways: Gateways, seconds: int) -> None:
    connection = await asyncpg.connect(gateways.database_url)
    try:
        await connection.execute(
            "INSERT INTO usage_adjustments (organization_id, seconds, reason, author) "
            "VALUES ($1, $2, 'an outage', 'olga')",
            ORGANIZATION,
            seconds,
        )
    finally:
        await connection.close()


async def test_seconds_that_are_added_stop_an_account_and_given_back_let_it_go_on(
    gateways: Gateways,
) -> None:
    await gateways.limit(100)
    peers = await gateways.start(3)
    for peer in peers:
        peer.hear(0, 2)
    await gateways.quiet()
    await adjust(gateways, 91)
    await seen(lambda: all(stops(peer) for peer in peers))
    (refused,) = await gateways.start(1)
    assert refused.closed == 4500

    await adjust(gateways, -20)
    await gateways.told()
    (again,) = await gateways.start(1)
    started = again.sent[0]
    assert isinstance(started, Started)
    assert (started.usage.used_seconds, started.usage.remaining_seconds) == (80, 20)
    assert gateways.counted() == 9


async def test_an_emptied_ledger_is_seeded_with_what_was_adjusted(gateways: Gateways) -> None:
    await gateways.limit(100)
    await adjust(gateways, 30)
    (peer,) = await gateways.start(1)
    started = peer.sent[0]
    assert isinstance(started, Started)
    assert started.usage.used_seconds == 30
