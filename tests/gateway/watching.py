"""A dashboard that speaks to a gateway, and a ledger that counts what it is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from meter.ledger.driver import Ledger
from meter.ledger.types import Look, LookItem
from tests.gateway.serving import Address, Recorder, token


class CountedLooks:
    """Counts a ledger's readings from now on."""

    def __init__(self, ledger: Ledger) -> None:
        self.calls: list[list[LookItem]] = []
        self._look = ledger.look
        ledger.look = self.look  # type: ignore[method-assign,assignment]

    async def look(self, items: list[LookItem]) -> list[Look]:
        self.calls.append(items)
        return await self._look(items)


class Dashboard(Recorder):
    """A client of `/v1/usage`: the same frames, another first one."""

    async def subscribe(self, user: str = "alice", **claims: object) -> dict[str, Any]:
        """Through to the first `usage`."""
        await self.ask(user, **claims)
        return await self.one("usage")

    async def ask(self, user: str = "alice", **claims: object) -> None:
        """Only the first frame."""
        await self.send(type="subscribe", token=token(self.organization, user, **claims))

    @property
    def states(self) -> list[dict[str, Any]]:
        """Every `usage` that was received."""
        return [each for each in self.received if each["type"] == "usage"]

    @property
    def used(self) -> int:
        """Seconds, as last told."""
        return int(self.states[-1]["usage"]["used_seconds"])

    @property
    def listed(self) -> list[str]:
        """Sessions, as last told."""
        return [each["session_id"] for each in self.states[-1]["active_sessions"]]


@asynccontextmanager
async def watching(
    gateway: Address,
    organization: str,
    *,
    origin: str | None = None,
    subprotocols: tuple[str, ...] = (),
) -> AsyncIterator[Dashboard]:
    """A dashboard's connection, not subscribed."""
    socket = await connect(
        gateway.url("/v1/usage"),
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        compression=None,
        ping_interval=None,
        open_timeout=20,
    )
    dashboard = Dashboard(socket, organization, "")
    try:
        yield dashboard
    finally:
        await dashboard.leave()
