"""A counter between a ledger of sets and a storage, and peers without sockets."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

from gateway import actions
from gateway.actions import SessionTimes
from gateway.counter import Counter
from gateway.metrics import Metrics
from gateway.opener import Opener
from gateway.session import RecorderSession
from meter.ledger.types import (
    Rules,
)
from tests.gateway.driving import ALICE
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.set_ledger import SetLedger


class Peer:
    """A connection without a socket; what it is sent is kept."""

    def __init__(self, counter: Counter, number: int, owner: int) -> None:
        self.session = RecorderSession(SessionTimes(), Rules(), owner, time.monotonic())
        self.session_id = str(UUID(int=number))
        self.connected = True
        self.sent: list[object] = []
        self.closed: int | None = None
        self._counter = counter

    def start(self, origin: int | None = None) -> None:
        """`start` comes, with an origin when the recorder was told one before."""
        claim = "" if origin is None else f',"origin":{origin}'
        self._frame(f'{{"type":"start","token":"t","session_id":"{self.session_id}"{claim}}}')

    def hear(self, first: int, last: int) -> None:
        """A heartbeat comes."""
        self._frame(f'{{"type":"heartbeat","from":{first},"to":{last}}}')

    def stop(self) -> None:
        """`stop` comes."""
        self._frame('{"type":"stop"}')

    def leave(self) -> None:
        """The connection is gone."""
        self.connected = False
        self.session.disconnected()
        self.perform()
        self._counter.forget(self)

    def _frame(self, text: str) -> None:
        self.session.frame(text)
        self.perform()

    def perform(self) -> None:
        """As a driver does."""
        while self.session.outbox:
            asked, self.session.outbox = self.session.outbox, []
            for action in asked:
                match action:
                    case actions.Queue():
                        self._counter.queue(self)
                    case actions.Send(message):
                        assert self.closed is None
                        self.sent.append(message)
                    case actions.Close(code):
                        assert self.closed is None
                        self.closed = int(code)
                    case actions.Authenticate():
                        self.session.authenticated(ALICE, time.monotonic())
                    case actions.Open(request):
                        self._counter.spawn(self._counter.openings.open(self, request))
                    case actions.End(reason):
                        self._counter.spawn(self._counter.end(self, reason))


class World:
    """A gateway's counter between a ledger and a storage."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.numbers: set[int] = set()
        self.ledger_ahead = 0.0  # its clock, of the gateways'
        self.ledger = SetLedger(lambda: self.now + self.ledger_ahead)
        self.storage = MemoryStorage()
        self.counter = self.another()
        self.owners = iter(range(1, 1_000_000))

    def another(self, stop_wait_seconds: float = 0.0) -> Counter:
        """A second gateway on the same ledger."""
        opener = Opener(self.ledger, self.storage, lambda: self.now)
        return Counter(self.ledger, opener, self.storage, Metrics(), 0.001, stop_wait_seconds)

    async def session(self, number: int = 1, counter: Counter | None = None) -> Peer:
        """A session; a new one started an hour ago, by the ledger's clock."""
        known = number in self.numbers
        self.numbers.add(number)
        self.now -= 0 if known else 3600
        peer = Peer(counter or self.counter, number, next(self.owners))
        peer.start()
        await until(lambda: peer.session.state is not None or peer.closed is not None)
        self.now += 0 if known else 3600
        return peer

    async def recorded(self, number: int = 1, counter: Counter | None = None) -> Peer:
        """A session whose seconds 0 to 9 are counted."""
        peer = await self.session(number, counter)
        peer.hear(0, 9)
        await until(lambda: not peer.session.tally.waiting)
        return peer

    def seconds(self, number: int = 1) -> set[int]:
        """What the ledger has of a session."""
        entry = self.ledger.entries.get(str(UUID(int=number)))
        return entry.seconds if entry else set()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
