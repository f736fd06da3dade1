"""Pages of live sessions that operators watch: read once a second, however many watch one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.operators import Operators
from gateway.rounds import Rounds, Watcher
from meter.ledger.listing import Census, PageRequest
from meter.ledger.types import LedgerUnavailable
from meter.ops_messages import Sessions, encode, session_list

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PageView:
    """A page as it was read, encoded once for all who watch it."""

    request: PageRequest
    frame: str


@dataclass(slots=True)
class Room:
    """Who watches a page, and what they saw last."""

    watchers: set[Watcher[PageView]] = field(default_factory=set)
    view: PageView | None = None


class OperatorPages:
    """One a gateway process: all pages that are watched, and the one task that reads them."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self._rooms: dict[PageRequest, Room] = {}
        self._places: dict[Watcher[PageView], PageRequest] = {}
        self._rounds = Rounds(self._round)
        self._away = False

    @contextmanager
    def watch(self, request: PageRequest) -> Iterator[Watcher[PageView]]:
        """A watcher, for as long as the block lasts."""
        watcher: Watcher[PageView] = Watcher()
        self._enter(watcher, request)
        try:
            yield watcher
        finally:
            self._leave(watcher)

    def move(self, watcher: Watcher[PageView], request: PageRequest) -> None:
        """It watches another page from now on."""
        self._leave(watcher)
        watcher.look_away()
        self._enter(watcher, request)

    def _enter(self, watcher: Watcher[PageView], request: PageRequest) -> None:
        self._places[watcher] = request
        room = self._rooms.setdefault(request, Room())
        room.watchers.add(watcher)
        if room.view is not None:
            watcher.show(room.view)
        else:
            self._rounds.wake()

    def _leave(self, watcher: Watcher[PageView]) -> None:
        request = self._places.pop(watcher)
        room = self._rooms[request]
        room.watchers.discard(watcher)
        if not room.watchers:
            del self._rooms[request]

    async def run(self) -> None:
        """Read for ever: all once a second, and at once what somebody begins to watch."""
        await self._rounds.run()

    async def _round(self, everything: bool) -> bool:
        wanted = [
            request for request, room in self._rooms.items() if everything or room.view is None
        ]
        try:
            await self._read(wanted)
        except LedgerUnavailable as error:
            self._lost_sight(error)
            return False
        self._away = False
        return True

    async def _read(self, requests: list[PageRequest]) -> None:
        census = None
        if any(request.organization_id is None for request in requests):
            census = await self._operators.census()
        for request in requests:
            if request in self._rooms:
                await self._read_page(request, census)

    async def _read_page(self, request: PageRequest, census: Census | None) -> None:
        page = await self._operators.page(request)
        frame = encode(session_list(Sessions, request, page, census))
        room = self._rooms.get(request)
        if room is None:
            return
        if room.view is None or room.view.frame != frame:
            room.view = PageView(request, frame)
        for watcher in room.watchers:
            watcher.show(room.view)

    def _lost_sight(self, error: LedgerUnavailable) -> None:
        if not self._away:
            logger.warning("operators wait for the ledger: %s", error)
        self._away = True
        for room in self._rooms.values():
            room.view = None  # who comes now is not shown what may be old
