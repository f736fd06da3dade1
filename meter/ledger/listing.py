"""Live sessions in pages, over all partitions: what is asked, what comes back, and how the
partitions' answers become one. Pure.

A page lists those that began last first. It goes on from a place, not from a number, so sessions
that begin or end meanwhile move nobody to another page.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from meter.ledger.replies import Reply, text

DEFAULT_PAGE = 100
MAX_PAGE = 500
# As many organizations are told apart, those with the most live sessions.
MAX_ORGANIZATIONS = 100
# A live session of which no second counts for so long is paused, or its recorder is away.
PAUSED_AFTER_SECONDS = 5

_CURSOR = re.compile(r"([0-9]{1,12})\.([0-9a-f-]{36})", re.ASCII)


class Position(Struct, frozen=True, order=True):
    """A place in the list: that of a session, whether it is still there or not."""

    origin: int
    session_id: str

    def cursor(self) -> str:
        """The place as text, for clients to bring back."""
        return f"{self.origin}.{self.session_id}"


def position(cursor: str) -> Position:
    """The place of a cursor. Raises ValueError when it is none."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError("`cursor` is the `next_cursor` of an answer")
    return Position(int(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class PageRequest:
    """So many live sessions at most, of an organization or of all, after a place or from the
    first on."""

    organization_id: str | None = None
    limit: int = DEFAULT_PAGE
    after: Position | None = None


class ListedSession(Struct, frozen=True, gc=False):
    """A live session, as operators see it. `origin` and `seen`, its last sign of life, are epoch
    seconds on the server's clock, to which `paused` is relative."""

    session_id: str
    organization_id: str
    user_id: str
    kind: str
    origin: int
    seconds: int
    seen: int
    paused: bool


@dataclass(frozen=True, slots=True)
class SessionPage:
    """The answer to a `PageRequest`: `total` are all live sessions of the organization, or of all;
    `next` is where the next page begins, None when there are no more."""

    total: int
    sessions: tuple[ListedSession, ...]
    next: Position | None = None


@dataclass(frozen=True, slots=True)
class Census:
    """How many organizations have live sessions, and how many each of the largest has, in
    descending order."""

    organizations: int
    largest: Mapping[str, int]


# Merging ------------------------------------------------------------------------------------------

Entry = tuple[int, str, int]  # score, member, partition


@dataclass(frozen=True, slots=True)
class Ranked:
    """A partition's highest entries of an index, in descending order; `asked` for so many of
    `size` in all."""

    asked: int
    size: int
    entries: tuple[Entry, ...]


def ranked(partition: int, asked: int, reply: Reply) -> Ranked:
    """A partition's reply of `rank`."""
    size, *flat = reply
    pairs = zip(flat[1::2], flat[::2], strict=True)
    entries = tuple((int(float(score)), text(name), partition) for score, name in pairs)
    return Ranked(asked, size, entries)


def share_of(most: int, partitions: int) -> int:
    """How many entries to ask each partition for first, so that all of them together most likely
    have the highest `most`."""
    return most if partitions == 1 else min(most, 2 * most // partitions + 8)


def merge(lists: Mapping[int, Ranked], most: int) -> tuple[list[Entry], list[int]]:
    """The highest `most` entries of some partitions; and the partitions that may have more of
    them, to be asked again for `most`: all that they gave was needed."""
    merged = sorted((entry for each in lists.values() for entry in each.entries), reverse=True)
    merged = merged[:most]
    lowest = merged[-1] if len(merged) == most else None
    short = [
        partition
        for partition, each in lists.items()
        if len(each.entries) == each.asked < most and (lowest is None or each.entries[-1] >= lowest)
    ]
    return merged, short


def is_paused(origin: int, highest: int, now: int) -> bool:
    """Whether nothing was recorded in the last seconds, `highest` being the last one counted."""
    return now - (origin + highest) > PAUSED_AFTER_SECONDS


def listed(session_ids: Sequence[str], reply: Reply) -> list[ListedSession]:
    """A partition's reply of `peek`; sessions that ended meanwhile are left out."""
    now, *rows = reply
    return [
        _listed(session_id, now, *row)
        for session_id, row in zip(session_ids, rows, strict=True)
        if row
    ]


def _listed(
    session_id: str,
    now: int,
    organization: bytes,
    user: bytes,
    kind: bytes,
    origin: bytes,
    seconds: bytes,
    highest: bytes,
    seen: bytes,
) -> ListedSession:
    return ListedSession(
        session_id=session_id,
        organization_id=text(organization),
        user_id=text(user),
        kind=text(kind),
        origin=int(origin),
        seconds=int(seconds),
        seen=int(seen),
        paused=is_paused(int(origin), int(highest), now),
    )
