"""Faults of the network, and of what comes over it."""

import asyncio
import random
from contextlib import suppress
from uuid import uuid4

from websockets.exceptions import ConnectionClosed

from meter.messages import MAX_FRAME_BYTES
from minute_meter.connection import connect
from minute_meter.wire import start
from tests.faults.habits import Steady
from tests.faults.proxy import Direction, Proxy
from tests.faults.stage import Stage

RUBBISH_CONNECTIONS = 20
RUBBISH_ORGANIZATION = "rubbish"
OPEN_SECONDS = 5.0
OFFLINE_ORGANIZATION, OFFLINE_RECORDERS = "offline", 16
BEFORE_SECONDS, AFTER_SECONDS = 4.0, 10.0


async def cut(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Connections break between any two frames, some each moment."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        stage.house.front.cut(0.05)
        await asyncio.sleep(chance.uniform(0.05, 0.4))


async def storm(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """All connections break at once, none is to be had for a while, and then all come back."""
    front = stage.house.front
    front.refusing = True
    front.cut()
    await asyncio.sleep(seconds)
    front.refusing = False


async def delay(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Frames take up to two seconds each way."""
    front = stage.house.front
    front.delay_seconds = chance.uniform(0.1, 1.3)
    await asyncio.sleep(seconds)
    front.delay_seconds = 0.0


async def offline(stage: Stage, chance: random.Random, seconds: float) -> None:
    """A third of the recorders have no network; they record on."""
    for recorder in list(stage.crowd.running):
        if chance.random() < 0.33:
            recorder.go_offline(seconds * chance.uniform(0.3, 1))
    await asyncio.sleep(seconds)


async def offline_long(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Some recorders have no network for all that time. They record on, and then catch up."""
    recorders = [
        stage.crowd.start(
            f"{OFFLINE_ORGANIZATION}-{number % 4}", f"user-{number}", Steady(chance.getrandbits(32))
        )
        for number in range(OFFLINE_RECORDERS)
    ]
    await asyncio.sleep(BEFORE_SECONDS)
    for recorder in recorders:
        recorder.go_offline(seconds)
    await asyncio.sleep(seconds + AFTER_SECONDS)
    for recorder in recorders:
        recorder.finish()


async def half_open(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Connections look open to both sides, and carry nothing either way, or one way, for ever."""
    front = stage.house.front
    front.swallow(0.15)
    front.swallow(0.1, frozenset({chance.choice(list(Direction))}))
    await asyncio.sleep(seconds)


async def cut_redis(stage: Stage, chance: random.Random, seconds: float) -> None:
    """One gateway has no way to Valkey: nothing passes, or connections are refused."""
    await _cut_off(chance.choice(stage.house.gateways).redis, chance, seconds)


async def cut_postgres(stage: Stage, chance: random.Random, seconds: float) -> None:
    """One gateway has no way to Postgres."""
    await _cut_off(chance.choice(stage.house.gateways).postgres, chance, seconds)


async def lose_settling(stage: Stage, chance: random.Random, seconds: float) -> None:
    """What a flusher says to Valkey arrives, and the answers don't."""
    unit = chance.choice(stage.house.flushers)
    unit.redis.stall(frozenset({Direction.DOWN}))
    await asyncio.sleep(seconds)
    unit.redis.cut()
    unit.redis.heal()


async def _cut_off(way: Proxy, chance: random.Random, seconds: float) -> None:
    if chance.random() < 0.5:
        way.stall()
    else:
        way.refusing = True
        way.cut()
    await asyncio.sleep(seconds)
    way.heal()


async def send_rubbish(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Connections that send what is no message, too much, or a million seconds, and never read."""
    tasks = [
        asyncio.create_task(_rubbish(stage, random.Random(chance.random())))
        for _ in range(RUBBISH_CONNECTIONS)
    ]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _rubbish(stage: Stage, chance: random.Random) -> None:
    try:
        socket = await connect(stage.house.record_url, OPEN_SECONDS)
    except OSError:
        return
    try:
        with suppress(ConnectionClosed):
            if chance.random() < 0.7:
                token = stage.house.token(RUBBISH_ORGANIZATION, "user")
                await socket.send(start(token, uuid4(), "rubbish", {}))
            while True:
                await socket.send(chance.choice(_FRAMES))
                await asyncio.sleep(chance.uniform(0, 0.05))
    finally:
        socket.transport.abort()


_FRAMES: tuple[str | bytes, ...] = (
    "",
    "null",
    "[" * 2000,
    '{"type":"heartbeat"}',
    '{"type":"heartbeat","second":NaN}',
    '{"type":"heartbeat","second":1e999}',
    '{"type":"heartbeat","second":-1}',
    '{"type":"heartbeat","from":0,"to":1000000}',
    '{"type":"heartbeat","from":0,"to":9007199254740992}',
    '{"type":"heartbeat","second":9007199254740993}',
    '{"type":"start","token":"x","session_id":"nobody"}',
    '{"type":"refresh","token":"x"}',
    '{"type":"\\ud800"}',
    '{"type":"nothing","x":"\\u0000"}',
    b"\x00\xff" * 100,
    '{"type":"heartbeat","second":0,"x":"' + "x" * MAX_FRAME_BYTES + '"}',
)
