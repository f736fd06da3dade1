"""Records minutes that come without a WebSocket, as the same sets of seconds in the same ledger."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.identity import Identity
from gateway.opener import MAX_STEPS, NOBODY, Opener, OpenerLedger
from gateway.problems import Problem, ProblemCode, refuse
from meter.account_messages import TrackedMinute, TrackMinute
from meter.codes import EndReason
from meter.ledger.types import (
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
    SessionState,
    Storage,
    StoredSession,
)
from meter.usage import usage_of

AT_ONCE = 8
KIND = "recording"
TRACKED_KIND = "tracked"


class TrackedLedger(OpenerLedger, Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    rules: Rules

    async def count(self, items: list[CountItem]) -> list[Counted]: ...

    async def close(self, key: SessionKey, reason: EndReason) -> SessionState | None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Seconds of a minute, in epoch seconds: from `start` (the minute's), `seconds` of them.
    `origin` is where the session begins, should nobody know it yet."""

    key: SessionKey
    user_id: str
    start: int
    seconds: int
    origin: int


class MinuteTracker:
    """Counts minutes. All raise `LedgerUnavailable`, `StorageUnavailable` and `Problem`."""

    def __init__(self, ledger: TrackedLedger, storage: Storage, opener: Opener) -> None:
        self._ledger = ledger
        self._storage = storage
        self._opener = opener
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def track(self, identity: Identity, body: TrackMinute) -> TrackedMinute:
        """Count the minute's seconds that weren't, as far as the limit has room. A session that
        isn't known is made; another user's is told as none of this user's."""
        asked = _asked(identity, body)
        self._check_time(asked)
        async with self._slots, self._opener.turn(asked.key.session_id):
            for _ in range(MAX_STEPS):
                state = await self._open(asked)
                if isinstance(state, TrackedMinute):
                    return state
                reply = await self._count(asked, state)
                if reply.status is CountStatus.COUNTED:
                    return _told(asked, reply)
                await self._warm(asked, reply.status)
        raise LedgerUnavailable("the ledger keeps losing what it is given")

    async def is_recorded(self, session_id: str) -> bool:
        """Whether `record` has made this session, as far as that is durable."""
        stored = await self._storage.load_session(session_id)
        return stored is not None and stored.state.end_reason == EndReason.STOPPED

    async def record(self, identity: Identity, session_id: str, seconds: int) -> None:
        """A session of so many seconds that has just ended, for minutes that come as a number. The
        caller has seen that there is room. Again with the same id, it is the same session."""
        key = SessionKey(identity.organization_id, session_id)
        state = SessionState(
            key, identity.user_id, TRACKED_KIND, int(time.time()) - seconds, revision=0
        )
        asked = Asked(key, identity.user_id, state.origin, seconds, state.origin)
        async with self._slots:
            for _ in range(MAX_STEPS):
                await self._ledger.restore_session(StoredSession(state, ()))
                (reply,) = await self._ledger.count([CountItem(key, ((0, seconds - 1),))])
                if reply.status is CountStatus.COUNTED:
                    await self._ledger.close(key, EndReason.STOPPED)
                    _check_whole(asked, reply)
                    return
                if reply.status is CountStatus.ENDED:
                    return  # by the call before this one
                await self._warm(asked, reply.status)
        raise LedgerUnavailable("the ledger keeps losing what it is given")

    async def _warm(self, asked: Asked, status: CountStatus) -> None:
        """Give the ledger the account, where it lacks that."""
        if status in (CountStatus.ACCOUNT_COLD, CountStatus.MEMBER_COLD):
            await self._opener.seed_account(
                asked.key.organization_id,
                asked.user_id,
                with_live=status is CountStatus.ACCOUNT_COLD,
            )

    def _check_time(self, asked: Asked) -> None:
        """Before anything is made. By this machine's clock: the ledger has the last word."""
        now, rules = time.time(), self._ledger.rules
        if asked.start + asked.seconds > now + rules.future_seconds + 1:
            raise refuse(
                ProblemCode.MINUTE_IN_FUTURE, "these seconds of the minute are still to come"
            )
        if asked.start < now - rules.late_seconds:
            raise refuse(
                ProblemCode.MINUTE_TOO_LATE,
                f"a minute is taken up to {rules.late_seconds} seconds after its start",
            )

    async def _open(self, asked: Asked) -> SessionState | TrackedMinute:
        """The session, ready to count; or what was counted before of one that can't any more."""
        request = OpenRequest(asked.key, asked.user_id, KIND, NOBODY)
        opened = await self._opener.open(request, None, claimed_origin=asked.origin)
        if opened.session is not None and opened.status in (
            OpenStatus.CREATED,
            OpenStatus.RESUMED,
        ):
            return opened.session
        if opened.status is OpenStatus.FOREIGN:
            raise refuse(ProblemCode.SESSION_NOT_FOUND, "the user has no session of this id")
        stored = await self._storage.load_session(asked.key.session_id)
        if stored is not None and _holds(stored, asked):
            return TrackedMinute(
                session_id=asked.key.session_id,
                minute_timestamp=asked.start,
                seconds_recorded=asked.seconds,
                seconds_new=0,
                seconds_refused=0,
                limit_reached=opened.status is OpenStatus.LIMIT_REACHED,
                session_seconds=stored.state.seconds,
                usage=None if opened.standing is None else usage_of(opened.standing),
            )
        raise _refused_open(opened.status)

    async def _count(self, asked: Asked, state: SessionState) -> Counted:
        first = asked.start - state.origin
        seconds = (first, first + asked.seconds - 1)
        (reply,) = await self._ledger.count([CountItem(asked.key, (seconds,))])
        if reply.status is CountStatus.ENDED and reply.end_reason != EndReason.LOST:
            raise _refused_open(OpenStatus.ENDED)
        return reply


def _asked(identity: Identity, body: TrackMinute) -> Asked:
    start = _epoch(body.minute_timestamp) // 60 * 60
    begun = start if body.session_started_at is None else _epoch(body.session_started_at)
    return Asked(
        SessionKey(identity.organization_id, str(body.session_id)),
        identity.user_id,
        start,
        body.seconds_recorded,
        min(begun, start),
    )


def _epoch(moment: int | datetime) -> int:
    return moment if isinstance(moment, int) else int(moment.timestamp())


def _holds(stored: StoredSession, asked: Asked) -> bool:
    """Whether all that is asked for is counted, of the same user."""
    mine = (stored.state.key, stored.state.user_id) == (asked.key, asked.user_id)
    wanted = (1 << asked.seconds) - 1
    return mine and any(
        each.minute * 60 == asked.start and each.mask & wanted == wanted for each in stored.minutes
    )


def _told(asked: Asked, reply: Counted) -> TrackedMinute:
    """The ledger's reply as the answer; a problem when nothing is counted."""
    refused = reply.over_limit + reply.in_future + reply.too_late + reply.over_duration
    if refused >= asked.seconds:
        raise _refused_seconds(reply)
    assert reply.standing is not None
    return TrackedMinute(
        session_id=asked.key.session_id,
        minute_timestamp=asked.start,
        seconds_recorded=asked.seconds - refused,
        seconds_new=reply.new,
        seconds_refused=refused,
        limit_reached=reply.over_limit > 0,
        session_seconds=reply.seconds,
        usage=usage_of(reply.standing),
    )


def _check_whole(asked: Asked, reply: Counted) -> None:
    """All of it was to be counted; where live sessions were quicker to the limit, a part is."""
    if reply.over_limit:
        counted = asked.seconds - reply.over_limit
        raise refuse(
            ProblemCode.LIMIT_REACHED, f"the limit was reached meanwhile, after {counted} seconds"
        )
    if reply.over_duration:
        raise refuse(ProblemCode.SESSION_TOO_LONG, "a session may not be as long")


def _refused_seconds(reply: Counted) -> Problem:
    if reply.over_limit:
        return _refused_open(OpenStatus.LIMIT_REACHED)
    if reply.in_future:
        return refuse(ProblemCode.MINUTE_IN_FUTURE, "the minute is still to come")
    if reply.over_duration:
        return refuse(ProblemCode.SESSION_TOO_LONG, "the session is as long as one may be")
    return refuse(
        ProblemCode.MINUTE_TOO_LATE,
        "the minute is too long ago, or before its session began: `session_started_at` of the"
        " first request says when that was",
    )


def _refused_open(status: OpenStatus) -> Problem:
    if status is OpenStatus.LIMIT_REACHED:
        return refuse(ProblemCode.LIMIT_REACHED, "no seconds are left of the limit")
    if status is OpenStatus.TOO_MANY_SESSIONS:
        return refuse(ProblemCode.TOO_MANY_SESSIONS, "the account has all the sessions it may")
    return refuse(ProblemCode.SESSION_ENDED, "the session has ended")
