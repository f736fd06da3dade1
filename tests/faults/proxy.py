"""A TCP proxy that treats connections badly when told to: it stalls them, delays what they carry,
swallows one direction, cuts them, or refuses new ones."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

LOOPBACK = "127.0.0.1"
# Without a reader's will to read, the proxy buffers no more than the kernel does.
HIGH_WATER_BYTES = 256 * 1024


class Direction(Enum):
    """Which way bytes go."""

    UP = auto()  # from the client to the server
    DOWN = auto()


BOTH = frozenset(Direction)
Directions = frozenset[Direction]


@dataclass
class Tripwire:
    """The first connection that carries `word` to the server carries nothing in the directions of
    `swallow` from then on; the bytes with the word are the first of it."""

    word: bytes
    swallow: Directions
    tripped: asyncio.Event = field(default_factory=asyncio.Event)


class Link:
    """One client's connection and the one to the server that stands for it."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.ends: dict[Direction, End] = {}
        self.whole = False
        self.swallowed: set[Direction] = set()

    def join(self, end: "End") -> None:
        self.ends[end.to] = end
        if len(self.ends) == len(BOTH):
            self.whole = True
            for each in list(self.ends.values()):
                each.begin()

    def other(self, end: "End") -> "End | None":
        return self.ends.get(Direction.DOWN if end.to is Direction.UP else Direction.UP)

    def cut(self) -> None:
        """A reset for both, which is what a dead machine's neighbours see."""
        for end in list(self.ends.values()):
            end.transport.abort()

    def ended(self, end: "End") -> None:
        """One side is gone. The other of a half-open connection isn't told."""
        self.ends.pop(end.to, None)
        if not self.ends:
            self.proxy.links.discard(self)
        elif not self.swallowed:
            self.proxy.links.discard(self)
            for other in self.ends.values():
                other.close_after(end.pending_until)


class End(asyncio.Protocol):
    """One of a link's two sockets: hands what it reads on, in the direction `to`."""

    def __init__(self, link: Link, to: Direction) -> None:
        self.link = link
        self.to = to
        self.lost = False
        self.pending_until = 0.0
        self._early: list[bytes] = []
        self._delayed: deque[bytes] = deque()
        self.transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH_WATER_BYTES)
        self.transport.pause_reading()

    def begin(self) -> None:
        """Both sockets are there, or a stall is over."""
        if self.to in self.link.proxy.stalled:
            return
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        link, proxy = self.link, self.link.proxy
        if not link.whole or self.to in proxy.stalled:
            # CPython 3.11.2 reads a socket that was paused in `connection_made`.
            self._early.append(data)
            return
        other = link.other(self)
        if proxy.tripwire is not None and self.to is Direction.UP and proxy.tripwire.word in data:
            link.swallowed |= proxy.tripwire.swallow
            proxy.tripwire.tripped.set()
            proxy.tripwire = None
        if other is None or self.to in link.swallowed:
            return
        if not proxy.delay_seconds and not self._delayed:
            other.transport.write(data)
            return
        loop = asyncio.get_running_loop()
        wait_seconds = proxy.delay_seconds * proxy.random.uniform(0.5, 1.5)
        self.pending_until = max(self.pending_until, loop.time() + wait_seconds)
        self._delayed.append(data)
        loop.call_at(self.pending_until, self._deliver, other)

    def _deliver(self, other: "End") -> None:
        # Timers of one moment run in any order; the bytes keep theirs.
        data = self._delayed.popleft()
        if not other.transport.is_closing():
            other.transport.write(data)

    def close_after(self, moment: float) -> None:
        """Close when what is still to be delivered has been."""
        loop = asyncio.get_running_loop()
        if moment > loop.time():
            loop.call_at(moment + 0.01, self.transport.close)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        if (other := self.link.other(self)) is not None:
            other.transport.pause_reading()

    def resume_writing(self) -> None:
        other = self.link.other(self)
        if other is not None and other.to not in self.link.proxy.stalled:
            other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        self.link.ended(self)


class Proxy:
    """Listens on `port`, and connects each client to the first of `upstreams()` that answers.

    `upstreams` gives ports of the loopback, and is asked anew for each connection: servers come and
    go. So a proxy with several is a balancer, too.
    """

    def __init__(self, upstreams: Callable[[], Sequence[int]], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.links: set[Link] = set()
        self.stalled: Directions = frozenset()
        self.tripwire: Tripwire | None = None
        self.delay_seconds = 0.0
        self.refusing = False
        self.port = 0
        self.served: dict[int, int] = {}  # by a client's port, that of the server it got
        self._upstreams = upstreams
        self._server: asyncio.Server | None = None
        self._dialling: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, LOOPBACK, 0, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all, and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._dialling):
            task.cancel()
        self.cut()
        await asyncio.sleep(0)

    # Faults ---------------------------------------------------------------------------------------

    def cut(self, share: float = 1.0) -> int:
        """Cut that share of the connections; how many there were."""
        links = [link for link in list(self.links) if self.random.random() < share]
        for link in links:
            link.cut()
        return len(links)

    def stall(self, directions: Directions = BOTH) -> None:
        """Connections stay open, new ones too, and carry nothing until `heal`."""
        self.stalled = directions
        for end in self._ends():
            if end.to in directions:
                end.transport.pause_reading()

    def swallow(self, share: float, directions: Directions = BOTH) -> int:
        """That share of the present connections look open for ever, and carry nothing."""
        links = [link for link in list(self.links) if self.random.random() < share]
        for link in links:
            link.swallowed |= directions
        return len(links)

    def heal(self) -> None:
        """Behave again. Swallowing connections stay what they are: what they swallowed is gone."""
        stalled, self.stalled = self.stalled, frozenset()
        self.tripwire = None
        self.delay_seconds = 0.0
        self.refusing = False
        for end in self._ends():
            if end.to in stalled and len(end.link.ends) == len(BOTH):
                end.begin()

    def _ends(self) -> list[End]:
        return [end for link in list(self.links) for end in link.ends.values()]

    # Connections ----------------------------------------------------------------------------------

    def _accept(self) -> End:
        link = Link(self)
        end = End(link, Direction.UP)
        task = asyncio.get_running_loop().create_task(self._dial(link, end))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        return end

    async def _dial(self, link: Link, end: End) -> None:
        await asyncio.sleep(0)  # `connection_made` comes first
        if self.refusing or end.lost:
            end.transport.abort()
            return
        self.links.add(link)
        link.join(end)
        loop = asyncio.get_running_loop()
        for port in self._upstreams():
            try:
                await loop.create_connection(lambda: self._joined(link), LOOPBACK, port)
            except OSError:
                continue
            if (client := end.transport.get_extra_info("peername")) is not None:
                self.served[client[1]] = port
            return
        end.transport.abort()

    def _joined(self, link: Link) -> End:
        return _Dialled(link, Direction.DOWN)


class _Dialled(End):
    """The server's side: the link is whole once it stands."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.link not in self.link.proxy.links:  # the client left, or was cut, meanwhile
            self.transport.abort()
            return
        self.link.join(self)
