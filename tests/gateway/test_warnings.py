"""Warnings over two counters, a real Valkey and a real Postgres: each once a session, each crossing
one row."""

import asyncio

import asyncpg
import pytest

from meter.messages import Warning as Threshold
from tests.gateway.counting import Peer
from tests.gateway.limited import ORGANIZATION, USER, Gateways, seen

pytestmark = pytest.mark.integration


def warnings(peer: Peer) -> list[tuple[str, int]]:
    return [(each.kind, each.value) for each in peer.sent if isinstance(each, Threshold)]


async def alerts(gateways: Gateways) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(gateways.database_url)
    try:
        rows = await connection.fetch(
            "SELECT user_id, kind, value, limit_seconds FROM usage_alerts "
            "WHERE organization_id = $1 ORDER BY 2, 3 DESC, 1 NULLS FIRST",
            ORGANIZATION,
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


async def settled(gateways: Gateways, count: int) -> list[tuple[object, ...]]:
    """The rows, once there are so many; gateways write them in the background."""
    for _ in range(1500):
        if len(found := await alerts(gateways)) >= count:
            break
        await asyncio.sleep(0.02)
    return found


async def test_each_crossing_is_one_row_however_many_sessions_and_gateways_saw_it(
    gateways: Gateways,
) -> None:
    await gateways.limit(20)
    peers = await gateways.start(8)
    for peer in peers:
        peer.hear(0, 1)
    await seen(lambda: all(("percent", 70) in warnings(peer) for peer in peers))
    assert await settled(gateways, 1) == [(None, "percent", 70, 20)]
    for peer in peers:
        peer.hear(0, 2)
    await gateways.quiet()
    expected = [(None, "percent", 100, 20), (None, "percent", 90, 20), (None, "percent", 70, 20)]
    assert await settled(gateways, len(expected)) == expected


async def test_a_members_crossing_is_a_row_of_the_members(gateways: Gateways) -> None:
    await gateways.limit(1000)
    await gateways.limit(3, USER)
    (peer,) = await gateways.start(1)
    peer.hear(0, 2)
    await seen(lambda: bool(warnings(peer)))
    assert [row[0] for row in await settled(gateways, 3)] == [USER] * 3


async def test_a_session_that_moves_to_another_gateway_is_not_warned_again(
    gateways: Gateways,
) -> None:
    await gateways.limit(4)
    (peer,) = await gateways.start(1)
    peer.hear(0, 2)
    await seen(lambda: warnings(peer) == [("percent", 70)])
    await asyncio.sleep(0.1)  # what it was told is noted in the background
    peer.leave()

    moved = await gateways.move(1)
    moved.hear(2, 2)
    await gateways.quiet()
    assert warnings(moved) == []
    (late,) = await gateways.start(1)  # one that joins late gets the present one
    late.hear(0, 0)
    await seen(lambda: bool(warnings(late)))
    assert warnings(late) == [("percent", 100)]
