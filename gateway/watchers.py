"""Who watches an account, and what they see: read once a second, however many watch."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from gateway.feed import View
from gateway.opener import Opener
from gateway.rounds import Rounds, Watcher
from meter.ledger.types import (
    ActiveSession,
    Coldness,
    LedgerUnavailable,
    Look,
    LookItem,
    Standing,
    StorageUnavailable,
)
from meter.messages import Usage
from meter.usage import usage_of
from meter.usage_messages import LiveSession, UsageState, encode

logger = logging.getLogger(__name__)

MAX_ACCOUNTS_A_CALL = 500
MAX_SESSIONS_LISTED = 500
# With the other callers below the ledger's connections.
SEEDING_AT_ONCE = 2

Account = tuple[str, str]  # organization, user


class LookingLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def look(self, items: list[LookItem]) -> list[Look]: ...


@dataclass(slots=True)
class Room:
    """The watchers of an organization, by user, and what they saw last."""

    watchers: dict[str, set[Watcher[View]]] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)


class Watchers:
    """One a gateway process: all who watch, and the one task that reads for them."""

    def __init__(self, ledger: LookingLedger, opener: Opener) -> None:
        self._ledger = ledger
        self._opener = opener
        self._rooms: dict[str, Room] = {}
        self._wanted: dict[Account, None] = {}  # of which nobody has a view yet
        self._rounds = Rounds(self._round)
        self._seeding: dict[Account, asyncio.Task[None]] = {}
        self._seeded: set[Account] = set()  # since the last tick
        self._seed_slots = asyncio.Semaphore(SEEDING_AT_ONCE)
        self._away = False

    @contextmanager
    def watch(self, organization_id: str, user_id: str) -> Iterator[Watcher[View]]:
        """A watcher, for as long as the block lasts."""
        watcher: Watcher[View] = Watcher()
        room = self._rooms.setdefault(organization_id, Room())
        room.watchers.setdefault(user_id, set()).add(watcher)
        view = room.views.get(user_id)
        if view is not None:
            watcher.show(view)
        else:
            self._want((organization_id, user_id))
        try:
            yield watcher
        finally:
            self._leave(organization_id, user_id, watcher)

    def _leave(self, organization_id: str, user_id: str, watcher: Watcher[View]) -> None:
        room = self._rooms[organization_id]
        room.watchers[user_id].discard(watcher)
        if not room.watchers[user_id]:
            del room.watchers[user_id]
            room.views.pop(user_id, None)
            self._wanted.pop((organization_id, user_id), None)
        if not room.watchers:
            del self._rooms[organization_id]

    def _want(self, account: Account) -> None:
        self._wanted[account] = None
        self._rounds.wake()

    # Reading ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read for ever: all once a second, and at once what somebody begins to watch."""
        await self._rounds.run()

    async def _round(self, everything: bool) -> bool:
        if everything:
            self._seeded.clear()
        accounts = self._all() if everything else _by_organization(self._wanted)
        self._wanted.clear()
        await self._read(accounts)
        return not self._away

    def _all(self) -> dict[str, list[str]]:
        return {organization: list(room.watchers) for organization, room in self._rooms.items()}

    async def _read(self, accounts: dict[str, list[str]]) -> None:
        items = iter(
            [
                LookItem(organization_id, tuple(user_ids), MAX_SESSIONS_LISTED)
                for organization_id, user_ids in accounts.items()
            ]
        )
        while batch := list(islice(items, MAX_ACCOUNTS_A_CALL)):
            try:
                looks = await self._ledger.look(batch)
            except LedgerUnavailable as error:
                self._lost_sight(error)
                return
            self._away = False
            for item, look in zip(batch, looks, strict=True):
                self._publish(item, look)

    def _lost_sight(self, error: LedgerUnavailable) -> None:
        if not self._away:
            logger.warning("watchers wait for the ledger: %s", error)
        self._away = True
        for room in self._rooms.values():
            room.views.clear()  # who comes now is not shown what may be old

    def _publish(self, item: LookItem, look: Look) -> None:
        room = self._rooms.get(item.organization_id)
        if room is None:
            return
        frames: dict[Usage, str] = {}
        for user_id, level in zip(item.user_ids, look.standings, strict=True):
            if isinstance(level, Standing):
                self._show(room, user_id, level, look, frames)
                continue
            with_live = level is Coldness.ACCOUNT_COLD
            self._seed((item.organization_id, user_id), with_live)
            if with_live:
                return  # so it is for the others, who then are cold members

    def _show(
        self, room: Room, user_id: str, standing: Standing, look: Look, frames: dict[Usage, str]
    ) -> None:
        watchers = room.watchers.get(user_id)
        if not watchers:
            return
        usage = usage_of(standing)
        if usage not in frames:
            frames[usage] = _frame(usage, look)
        view = room.views.get(user_id)
        if view is None or view.frame != frames[usage]:
            view = View(standing, frames[usage])
            room.views[user_id] = view
        for watcher in watchers:
            watcher.show(view)

    # Cold accounts ----------------------------------------------------------------------------

    def _seed(self, account: Account, with_live: bool) -> None:
        """Have a cold account seeded, at most once a second."""
        if account in self._seeding or account in self._seeded:
            return
        self._seeded.add(account)
        task = asyncio.get_running_loop().create_task(self._seed_now(account, with_live))
        self._seeding[account] = task
        task.add_done_callback(lambda _: self._seeding.pop(account))

    async def _seed_now(self, account: Account, with_live: bool) -> None:
        try:
            async with self._seed_slots:
                await self._opener.seed_account(*account, with_live=with_live)
        except (LedgerUnavailable, StorageUnavailable) as error:
            logger.warning("a watched account waits: %s", error)
        except Exception:
            logger.exception("a watched account could not be seeded")
        else:
            self._want_all(account[0])

    def _want_all(self, organization_id: str) -> None:
        room = self._rooms.get(organization_id, Room())
        for user_id in room.watchers.keys() - room.views.keys():
            self._want((organization_id, user_id))


def _by_organization(accounts: dict[Account, None]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for organization_id, user_id in accounts:
        grouped.setdefault(organization_id, []).append(user_id)
    return grouped


def _frame(usage: Usage, look: Look) -> str:
    return encode(UsageState(usage, look.live_count, tuple(map(_session, look.live))))


def _session(active: ActiveSession) -> LiveSession:
    return LiveSession(
        session_id=active.session_id,
        user_id=active.user_id,
        kind=active.kind,
        started_at=active.origin,
        session_seconds=active.seconds,
    )
