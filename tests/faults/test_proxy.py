"""The proxy does to connections what it says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from tests.faults.proxy import LOOPBACK, Direction, Proxy, Tripwire

SOON_SECONDS = 30.0
NOT_AT_ONCE_SECONDS = 0.1


class Echo(asyncio.Protocol):
    """Says what it hears."""

    def __init__(self, all_of_them: list["Echo"]) -> None:
        all_of_them.append(self)
        self.transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that says what it hears; its port."""
    echoes: list[Echo] = []
    server = await asyncio.get_running_loop().create_server(lambda: Echo(echoes), LOOPBACK, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for echo in echoes:
        echo.transport.abort()
    await asyncio.sleep(0)


class Client:
    """A connection by a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, text: bytes) -> None:
        self.writer.write(text)

    async def hear(self, length: int) -> bytes:
        async with asyncio.timeout(SOON_SECONDS):
            return await self.reader.readexactly(length)

    async def silent(self) -> bool:
        try:
            async with asyncio.timeout(NOT_AT_ONCE_SECONDS):
                await self.reader.readexactly(1)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with echoing() as port:
        made = Proxy(lambda: (port,))
        await made.start()
        yield made
        await made.stop()


Connect = Callable[[Proxy], Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes clients, and closes their connections at the end."""
    clients: list[Client] = []

    async def make(proxy: Proxy) -> Client:
        client = Client(*await asyncio.open_connection(LOOPBACK, proxy.port))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.writer.transport.abort()
        with suppress(ConnectionError):
            await client.writer.wait_closed()


async def test_it_hands_on_what_it_gets(proxy: Proxy, connect: Connect) -> None:
    client = await connect(proxy)
    client.say(b"hello")
    assert await client.hear(5) == b"hello"


async def test_a_stall_ends_and_nothing_is_lost(proxy: Proxy, connect: Connect) -> None:
    client = await connect(proxy)
    client.say(b"a")
    await client.hear(1)
    proxy.stall()
    client.say(b"b")
    late = await connect(proxy)
    late.say(b"c")
    assert await client.silent()
    assert await late.silent()
    proxy.heal()
    assert await client.hear(1) == b"b"
    assert await late.hear(1) == b"c"


async def test_one_direction_may_stall_alone(proxy: Proxy, connect: Connect) -> None:
    client = await connect(proxy)
    client.say(b"a")
    await client.hear(1)
    proxy.stall(frozenset({Direction.DOWN}))
    client.say(b"b")
    assert await client.silent()
    proxy.heal()
    assert await client.hear(1) == b"b"


async def test_delayed_bytes_keep_their_order(proxy: Proxy, connect: Connect) -> None:
    proxy.delay_seconds = 0.02
    client = await connect(proxy)
    text = bytes(range(200))
    for byte in text:
        client.say(bytes([byte]))
        await asyncio.sleep(0)
    assert await client.hear(200) == text


async def test_cut_connections_are_reset_and_new_ones_work(proxy: Proxy, connect: Connect) -> None:
    client = await connect(proxy)
    client.say(b"a")
    await client.hear(1)
    assert proxy.cut() == 1
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.hear(1)
    again = await connect(proxy)
    again.say(b"b")
    assert await again.hear(1) == b"b"


async def test_a_half_open_connection_says_nothing_and_stays_open(
    proxy: Proxy, connect: Connect
) -> None:
    client = await connect(proxy)
    client.say(b"a")
    await client.hear(1)
    assert proxy.swallow(1.0) == 1
    client.say(b"b")
    assert await client.silent()
    proxy.heal()
    assert await client.silent()


async def test_a_tripwire_swallows_the_answer_to_a_word_or_the_word_itself(
    proxy: Proxy, connect: Connect
) -> None:
    first, other = await connect(proxy), await connect(proxy)
    proxy.tripwire = Tripwire(b"commit", frozenset({Direction.DOWN}))
    for client in (first, other):
        client.say(b"a")
        assert await client.hear(1) == b"a"
    first.say(b"commit")
    assert await first.silent()
    other.say(b"commit")
    assert await other.hear(6) == b"commit"


async def test_it_goes_to_the_next_server_where_one_is_away(connect: Connect) -> None:
    async with echoing() as port:
        proxy = Proxy(lambda: (1, port))
        await proxy.start()
        client = await connect(proxy)
        client.say(b"a")
        assert await client.hear(1) == b"a"
        await proxy.stop()
