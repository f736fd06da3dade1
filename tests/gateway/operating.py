"""Operators that speak to a gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from gateway.opener import Opener
from meter.ledger.driver import Ledger
from meter.ledger.listing import Census, PageRequest, SessionPage
from meter.ledger.types import OpenRequest, OpenStatus, SessionKey
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import Address, Recorder, Served, token


class CountedPages:
    """Counts a gateway's readings of pages from now on, and those of the census."""

    def __init__(self, gateway: Served) -> None:
        self.pages: list[PageRequest] = []
        self.censuses = 0
        operators = gateway.parts.operators
        self._page, self._census = operators.page, operators.census
        operators.page = self.page  # type: ignore[method-assign]
        operators.census = self.census  # type: ignore[method-assign]

    async def page(self, request: PageRequest) -> SessionPage:
        self.pages.append(request)
        return await self._page(request)

    async def census(self) -> Census:
        self.censuses += 1
        return await self._census()

    def clear(self) -> None:
        self.pages.clear()
        self.censuses = 0


class Operator(Recorder):
    """A client of `/v1/ops`: the same frames, another first one."""

    async def subscribe(
        self, claims: dict[str, object] | None = None, **fields: object
    ) -> dict[str, Any]:
        """Through to the first page."""
        await self.ask(claims, **fields)
        return await self.one("sessions")

    async def ask(self, claims: dict[str, object] | None = None, **fields: object) -> None:
        """Only the first frame."""
        signed = token(self.organization, "olga", **{"scope": "admin", **(claims or {})})
        await self.send(type="subscribe", token=signed, **fields)

    async def stop(self, session_id: str) -> dict[str, Any]:
        """Through to `stopped`."""
        await self.send(type="stop", session_id=session_id)
        return await self.one("stopped", session_id=session_id)

    @property
    def pages(self) -> list[dict[str, Any]]:
        """Every page that was received."""
        return [each for each in self.received if each["type"] == "sessions"]

    @property
    def listed(self) -> list[str]:
        """Sessions, as last told."""
        return [each["session_id"] for each in self.pages[-1]["sessions"]]

    @property
    def seconds(self) -> list[int]:
        """Of these sessions."""
        return [each["session_seconds"] for each in self.pages[-1]["sessions"]]


@asynccontextmanager
async def operating(
    gateway: Address, *, origin: str | None = None, subprotocols: tuple[str, ...] = ()
) -> AsyncIterator[Operator]:
    """An operator's connection, not subscribed."""
    socket = await connect(
        gateway.url("/v1/ops"),
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        compression=None,
        ping_interval=None,
        open_timeout=20,
        max_size=None,
    )
    operator = Operator(socket, "operators", "")
    try:
        yield operator
    finally:
        await operator.leave()


def new_keys(organization: str, sessions: int) -> list[SessionKey]:
    """Of sessions that are to begin."""
    return [SessionKey(organization, str(uuid4())) for _ in range(sessions)]


async def begin(ledger: Ledger, storage: MemoryStorage, *keys: SessionKey) -> None:
    """Live sessions that nobody is connected for."""
    opener = Opener(ledger, storage)
    for key in keys:
        opened = await opener.open(OpenRequest(key, "alice", "recording", 1, create=True), None)
        assert opened.status is OpenStatus.CREATED
