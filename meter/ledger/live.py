"""All live sessions of a ledger, for operators: listed in pages, counted by organization, ended.

What a reading costs depends on the page's size and the number of partitions, never on the number of
sessions. All raise `LedgerUnavailable`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from meter.codes import EndReason
from meter.ledger import replies
from meter.ledger.calls import Argument
from meter.ledger.keys import PARTITIONS, partition_of
from meter.ledger.listing import (
    MAX_ORGANIZATIONS,
    Census,
    Entry,
    ListedSession,
    PageRequest,
    Position,
    Ranked,
    SessionPage,
    listed,
    merge,
    ranked,
    share_of,
)
from meter.ledger.types import SessionKey, SessionState

ALL = tuple(range(PARTITIONS))


class SurveyedLedger(Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[Argument]
    ) -> list[Any]: ...

    async def peek(self, sessions: Mapping[int, Sequence[str]]) -> list[Any]: ...

    async def close(self, key: SessionKey, reason: EndReason) -> SessionState | None: ...


class LiveSessions:
    """Of the ledger it is made with."""

    def __init__(self, ledger: SurveyedLedger) -> None:
        self._ledger = ledger

    async def page(self, request: PageRequest) -> SessionPage:
        """Some of the live sessions, those that began last first."""
        organization = request.organization_id
        partitions = ALL if organization is None else (partition_of(organization),)
        index = "began" if organization is None else f"o:{organization}"
        # One more than asked for says whether there are more.
        total, entries = await self._highest(index, partitions, request.limit + 1, request.after)
        shown = entries[: request.limit]
        by_home: dict[int, list[str]] = {}
        for _, session_id, home in shown:
            by_home.setdefault(home, []).append(session_id)
        answers = await self._ledger.peek(by_home)
        found = [
            session
            for names, answer in zip(by_home.values(), answers, strict=True)
            for session in listed(names, answer)
        ]
        more = len(entries) > request.limit
        return SessionPage(total, _ordered(found), Position(*shown[-1][:2]) if more else None)

    async def census(self, most: int = MAX_ORGANIZATIONS) -> Census:
        """How many live sessions the organizations have that have the most."""
        organizations, entries = await self._highest("orgs", ALL, most, None)
        return Census(organizations, {name: sessions for sessions, name, _ in entries})

    async def _highest(
        self, index: str, partitions: Sequence[int], most: int, after: Position | None
    ) -> tuple[int, list[Entry]]:
        """How many entries an index has, and the highest of them."""
        place: tuple[Argument, ...] = () if after is None else (after.origin, after.session_id)
        lists: dict[int, Ranked] = {}
        missing, share = list(partitions), share_of(most, len(partitions))
        while missing:
            answers = await self._ledger.survey("rank", missing, (index, share, *place))
            for partition, answer in zip(missing, answers, strict=True):
                lists[partition] = ranked(partition, share, answer)
            entries, missing = merge(lists, most)
            share = most
        return sum(each.size for each in lists.values()), entries

    async def find(self, session_id: str) -> list[SessionState]:
        """The session of this id, live or not. (Should another organization, of another partition,
        have begun one of the same id in the same second, then both.)"""
        answers = await self._ledger.survey("find", ALL, (session_id,))
        return [replies.session_state(session_id, answer) for answer in answers if answer]

    async def stop(self, session_id: str) -> SessionState | None:
        """End the session as an operator; None when the ledger doesn't know it. One that has ended
        for good stays as it is, so that this may be repeated."""
        stopped = [
            await self._ledger.close(found.key, EndReason.ADMIN)
            for found in await self.find(session_id)
        ]
        known = [state for state in stopped if state is not None]
        ours = [state for state in known if state.end_reason == EndReason.ADMIN]
        return next(iter(ours or known), None)


def _ordered(sessions: list[ListedSession]) -> tuple[ListedSession, ...]:
    return tuple(sorted(sessions, key=lambda each: (each.origin, each.session_id), reverse=True))
