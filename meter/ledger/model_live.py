"""What the reference model says of live sessions in pages: the whole list, sorted and cut. See
`model.py`."""

from collections import Counter
from collections.abc import Iterable

from meter.ledger.listing import (
    Census,
    ListedSession,
    PageRequest,
    Position,
    SessionPage,
    is_paused,
)
from meter.ledger.model_state import Session


def page(sessions: Iterable[Session], request: PageRequest, now: int) -> SessionPage:
    """Some of the live sessions, those that began last first."""
    live = [
        (Position(each.origin, each.key.session_id), each)
        for each in sessions
        if each.ended_at is None and request.organization_id in (None, each.key.organization_id)
    ]
    live.sort(key=lambda row: row[0], reverse=True)
    rest = [row for row in live if request.after is None or row[0] < request.after]
    shown = rest[: request.limit]
    return SessionPage(
        len(live),
        tuple(_listed(each, now) for _, each in shown),
        shown[-1][0] if len(rest) > request.limit else None,
    )


def census(sessions: Iterable[Session], most: int) -> Census:
    """How many live sessions the organizations have that have the most."""
    counts = Counter(each.key.organization_id for each in sessions if each.ended_at is None)
    largest = sorted(((count, name) for name, count in counts.items()), reverse=True)
    return Census(len(counts), {name: count for count, name in largest[:most]})


def _listed(session: Session, now: int) -> ListedSession:
    return ListedSession(
        session_id=session.key.session_id,
        organization_id=session.key.organization_id,
        user_id=session.user_id,
        kind=session.kind,
        origin=session.origin,
        seconds=len(session.counted),
        seen=session.seen,
        paused=is_paused(session.origin, session.highest, now),
    )
