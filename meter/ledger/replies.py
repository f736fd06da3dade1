"""Replies of the server functions as types. Pure. A reply of another shape is a bug, and raises."""

from collections.abc import Sequence
from typing import Any

from meter.ledger.types import (
    ActiveSession,
    Backlog,
    Coldness,
    Collected,
    CollectStatus,
    Counted,
    CountStatus,
    DueSession,
    Look,
    Minute,
    Opened,
    OpenStatus,
    SessionKey,
    SessionState,
    Standing,
)
from meter.periods import Period
from meter.seconds import minute_from_bitmap
from meter.terms import parse_terms

Reply = Sequence[Any]

_COUNT_STATUS = {status.value.encode(): status for status in CountStatus}
_COUNTED = CountStatus.COUNTED  # for each heartbeat: an enum's member costs several times a name
_NONE_REFUSED = (0, 0, 0, 0)


def text(value: bytes | str) -> str:
    """A bulk string as text."""
    return value if isinstance(value, str) else value.decode()


def standing(values: Reply) -> Standing:
    """Seven values, as the library gives them."""
    start, end, used, limit, member_used, member_limit, terms = values
    return Standing(Period(start, end), used, limit, member_used, member_limit, parse_terms(terms))


def session_state(session_id: str, values: Reply) -> SessionState:
    """A session as the library describes it."""
    user, kind, origin, revision, seconds, highest, durable, ended_at, reason, organization = values
    return SessionState(
        key=SessionKey(text(organization), session_id),
        user_id=text(user),
        kind=text(kind),
        origin=origin,
        revision=int(revision),
        seconds=seconds,
        highest=highest,
        durable_through=durable,
        ended_at=int(ended_at) if ended_at else None,
        end_reason=text(reason) or None,
    )


def opened(session_id: str, reply: Reply) -> Opened:
    """The reply of `open`."""
    status = OpenStatus(text(reply[0]))
    server_time = reply[1] + reply[2] / 1_000_000
    session = session_state(session_id, reply[3]) if len(reply) > 3 and reply[3] else None
    if len(reply) == 3:
        return Opened(status, server_time)
    told = text(reply[5]) if len(reply) > 5 else ""
    return Opened(status, server_time, session, standing(reply[4]), told)


def counted(reply: Reply) -> Counted:
    """One session's reply of `count`."""
    if isinstance(reply[0], bytes):
        return _not_counted(_COUNT_STATUS[reply[0]], reply)
    new, seconds, highest, durable, owner = reply[:5]
    in_future, too_late, over_limit, over_duration = reply[12:] or _NONE_REFUSED
    return Counted(
        _COUNTED,
        new,
        in_future,
        too_late,
        over_limit,
        over_duration,
        seconds,
        highest,
        durable,
        owner,
        "",
        standing(reply[5:12]),
    )


def _not_counted(status: CountStatus, reply: Reply) -> Counted:
    if len(reply) == 1:
        return Counted(status)
    _, seconds, highest, durable, owner, reason = reply
    return Counted(
        status,
        seconds=seconds,
        highest=highest,
        durable_through=durable,
        owner=owner,
        end_reason=text(reason),
    )


def look(reply: Reply) -> Look:
    """One organization's reply of `look`."""
    live_count, listed, *standings = reply
    rows = [listed[at : at + 5] for at in range(0, len(listed), 5)]
    return Look(live_count, tuple(_active(*row) for row in rows), tuple(map(_level, standings)))


def _active(
    session_id: bytes, user: bytes, kind: bytes, origin: bytes, seconds: bytes
) -> ActiveSession:
    return ActiveSession(text(session_id), text(user), text(kind), int(origin), int(seconds))


def _level(values: Reply) -> Standing | Coldness:
    return Coldness(text(values[0])) if len(values) == 1 else standing(values)


def collected(reply: Reply) -> Collected:
    """The reply of `collect`."""
    status = CollectStatus(text(reply[0]))
    if status is CollectStatus.LEASED:
        return Collected(status)
    rows = [reply[at : at + 5] for at in range(2, len(reply), 5)]
    return Collected(status, tuple(_due(*row) for row in rows), bool(reply[1]))


def _due(
    session_id: bytes, values: Reply, row_due: int, metadata: Any, minutes: Reply
) -> DueSession:
    state = session_state(text(session_id), values)
    triples = zip(minutes[::3], minutes[1::3], minutes[2::3], strict=True)
    return DueSession(
        state=state,
        row_due=bool(row_due),
        metadata=text(metadata) if metadata else "",
        minutes=tuple(
            Minute(minute, minute_from_bitmap(data, first, state.origin, minute))
            for minute, first, data in triples
        ),
    )


def backlog(replies: Sequence[Reply]) -> Backlog:
    """The replies of `backlog` of all partitions, as one."""
    oldest = [reply[1] for reply in replies if reply[1]]
    return Backlog(
        sessions_due=sum(reply[0] for reply in replies),
        oldest_due_at=min(oldest, default=None),
        set_aside=sum(reply[2] for reply in replies),
        live_sessions=sum(reply[3] for reply in replies),
    )
