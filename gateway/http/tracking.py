"""Records minutes that come without a WebSocket, as the same sets of seconds in the same ledger."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from gateway.http.books import Store
from gateway.identity import Identity
from gateway.keeper import Keeper
from gateway.opener import MAX_STEPS, NOBODY, Opener, OpenerLedger
from gateway.problems import Problem, ProblemCode, refuse
from gateway.tally import Tally
from meter.account_messages import TrackedMinute, TrackMinute
from meter.codes import EndReason
from meter.ledger.auditing import AuditedLedger
from meter.ledger.types import (
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    SessionKey,
    SessionState,
    Storage,
    StoredSession,
)
from meter.ledger.whole import (
    Recorded,
    RecordingLedger,
    RecordStatus,
    WholeSession,
    record_whole,
)
from meter.seconds import Range
from meter.usage import usage_of

AT_ONCE = 8
KIND = "recording"
TRACKED_KIND = "tracked"


class TrackedLedger(OpenerLedger, AuditedLedger, RecordingLedger, Protocol):
    """What is needed of `meter.ledger.driver.Ledger`."""

    async def count(self, items: list[CountItem]) -> list[Counted]: ...

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]: ...


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

    def __init__(
        self,
        ledger: TrackedLedger,
        storage: Storage,
        opener: Opener,
        store: Store,
        keeper: Keeper,
    ) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._storage = storage
        self._opener = opener
        self._store = store
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
                    self._keep(asked, state, reply)
                    return _told(asked, reply)
                await self._warm(asked, reply.status)
        raise LedgerUnavailable("the ledger keeps losing what it is given")

    async def is_recorded(
        self, identity: Identity, session_ids: Sequence[str], seconds: int, since: float
    ) -> bool:
        """Whether `record` has made one of these sessions since then. The ledger is asked first:
        what isn't durable is there alone; one that is gone there is durable, or was lost."""
        keys = [SessionKey(identity.organization_id, each) for each in session_ids]
        for key, found in zip(keys, await self._ledger.recall(keys), strict=True):
            state = found
            if state is None:
                stored = await self._storage.load_session(key.session_id)
                state = None if stored is None else stored.state
            if state is not None and _is_whole(state, seconds) and (state.ended_at or 0) > since:
                return True
        return False

    async def catch_up(self, organization_id: str) -> None:
        """The ledger has the account's minutes that came by another way than through it."""
        await self._store.catch_up(self._ledger, organization_id)

    async def record(self, identity: Identity, session_id: str, seconds: int) -> bool:
        """A session of so many seconds that has just ended, for minutes that come as a number.
        False where the limits lack room for all of them, in the periods that they fall into: then
        nothing is counted, as with a `Problem`. Again with the same id, it is the same session."""
        key = SessionKey(identity.organization_id, session_id)
        whole = WholeSession(key, identity.user_id, TRACKED_KIND, seconds)
        async with self._slots:
            for _ in range(MAX_STEPS):
                answer = await record_whole(self._ledger, whole)
                if answer.session is not None and _is_whole(answer.session, seconds):
                    self._keep_whole(whole, answer.session)
                    return True
                if answer.status is RecordStatus.REFUSED:
                    return _has_no_room(answer)
                await self._seed(key, identity.user_id, answer.status is RecordStatus.ACCOUNT_COLD)
        raise LedgerUnavailable("the ledger keeps losing what it is given")

    def _keep(self, asked: Asked, state: SessionState, reply: Counted) -> None:
        """Nobody else brings them again: should the ledger lose them, they come from here."""
        first = asked.start - state.origin
        last = min(first + asked.seconds - 1, reply.highest)
        if last < first:
            return  # none of them counts
        tally = _tally((max(first, 0), last), reply.seconds)
        request = OpenRequest(asked.key, asked.user_id, KIND, NOBODY)
        self._keeper.keep(request, state, tally, time.monotonic())

    def _keep_whole(self, whole: WholeSession, ended: SessionState) -> None:
        tally = _tally((0, whole.seconds - 1), ended.seconds)
        request = OpenRequest(whole.key, whole.user_id, whole.kind, NOBODY)
        state = replace(ended, ended_at=None, end_reason=None)  # it is put back first, then ends
        self._keeper.keep(request, state, tally, time.monotonic(), EndReason.STOPPED)

    async def _warm(self, asked: Asked, status: CountStatus) -> None:
        """Give the ledger the account, where it lacks that."""
        if status in (CountStatus.ACCOUNT_COLD, CountStatus.MEMBER_COLD):
            await self._seed(asked.key, asked.user_id, status is CountStatus.ACCOUNT_COLD)

    async def _seed(self, key: SessionKey, user_id: str, with_live: bool) -> None:
        await self._opener.seed_account(key.organization_id, user_id, with_live=with_live)

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
        (reply,) = await self._ledger.count([CountItem(asked.key, (seconds,), state.origin)])
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


def _tally(seconds: Range, total: int) -> Tally:
    """What was counted of a session that has so many seconds in all."""
    tally = Tally()
    tally.seconds = total
    tally.undurable.add(*seconds)
    return tally


def _is_whole(state: SessionState, seconds: int) -> bool:
    """Whether it has ended, with all that was to be counted."""
    return state.ended_at is not None and state.seconds >= seconds


def _has_no_room(answer: Recorded) -> bool:
    """False; a problem where the limits aren't what refuses the seconds."""
    if answer.over_duration:
        raise refuse(ProblemCode.SESSION_TOO_LONG, "a session may not be as long")
    if answer.too_late:
        raise refuse(ProblemCode.INVALID_VALUE, "some of the minutes would be too long ago")
    return False


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
