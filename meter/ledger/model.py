"""The counting rules over plain sets: what the function library has to do, readable.

The reference model of the function library (`library/`): tests run random calls against both and
compare. It has the driver's calls, each with the time as an argument, and keeps no keys, caches or
expiry times: a session that the library would let expire has `expiring` set, and stays.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from meter.codes import EndReason
from meter.ledger.keys import partition_of
from meter.ledger.model_restorable import Restorable, seconds_of
from meter.ledger.model_state import APART_SECONDS, FARTHEST_SECONDS, Account, Moment, Session
from meter.ledger.types import (
    UNLIMITED,
    ActiveSession,
    Backlog,
    Coldness,
    Collected,
    CollectStatus,
    Counted,
    CountItem,
    CountStatus,
    DueSession,
    Look,
    LookItem,
    Minute,
    Opened,
    OpenRequest,
    OpenStatus,
    SessionKey,
    SessionState,
    Settlement,
    Standing,
)
from meter.ledger.whole import Recorded, RecordStatus, WholeSession


class Model(Restorable):
    """All that the ledger holds. Methods are the driver's, with `now`."""

    # Sessions

    def open(self, request: OpenRequest, now: Moment) -> Opened:
        """Make a session, or resume it: the first rule that applies decides."""
        server_time = now[0] + now[1] / 1_000_000
        session = self.find(request.key)
        account = self.accounts.get(request.key.organization_id, Account())
        if session and (session.key, session.user_id) != (request.key, request.user_id):
            return Opened(OpenStatus.FOREIGN, server_time)
        if session and not self._may_resume(session, now[0]):
            return Opened(OpenStatus.ENDED, server_time)
        if not account.is_hot(now[0], request.user_id):
            cold = OpenStatus.MEMBER_COLD if account.is_known else OpenStatus.ACCOUNT_COLD
            return Opened(cold, server_time)
        if session is None and not request.create:
            return Opened(OpenStatus.ABSENT, server_time)
        standing = account.standing(now[0], request.user_id)
        live = session is not None and session.ended_at is None
        if not live and not account.has_room(now[0], request.user_id):
            return Opened(OpenStatus.LIMIT_REACHED, server_time, None, standing)
        if not live and self._is_full(request.key.organization_id, account):
            return Opened(OpenStatus.TOO_MANY_SESSIONS, server_time, None, standing)
        status = OpenStatus.CREATED if session is None else OpenStatus.RESUMED
        session = session or self._create(request, now)
        if not live and status is OpenStatus.RESUMED:
            session.ended_at, session.end_reason, session.expiring = None, None, False
            session.change(now)
        session.owner, session.seen, session.listed = request.owner, now[0], now[0]
        return Opened(status, server_time, session.state(), standing, session.told)

    def _is_full(self, organization_id: str, account: Account) -> bool:
        most = account.terms.most_sessions
        return most != UNLIMITED and len(self.live_sessions(organization_id)) >= most

    def _may_resume(self, session: Session, now: int) -> bool:
        if session.ended_at is None:
            return True
        quiet = now - session.ended_at
        return session.end_reason == EndReason.LOST and quiet <= self.rules.resume_seconds

    def _create(self, request: OpenRequest, now: Moment) -> Session:
        session = Session(request.key, request.user_id, request.kind, now[0], now[0], 0)
        session.metadata = request.metadata
        session.change(now)
        self.sessions[partition_of(request.key.organization_id), request.key.session_id] = session
        return session

    def note_told(self, key: SessionKey, told: str) -> None:
        """Keep with a session what it was warned of."""
        session = self.find(key)
        if session is not None:
            session.told = told

    def close(
        self, key: SessionKey, reason: EndReason, now: Moment, at_least: int = 0
    ) -> SessionState | None:
        """End a session that has so many seconds; ending it again changes nothing, but that an
        operator ends a lost one for good."""
        session = self.find(key)
        if session is None or len(session.counted) < at_least:
            return None
        for_good = reason is EndReason.ADMIN and session.end_reason == EndReason.LOST
        if session.ended_at is None or for_good:
            session.expiring = False
            self._end(session, reason, now)
        return session.state()

    def _end(self, session: Session, reason: EndReason, now: Moment) -> None:
        session.ended_at, session.end_reason = now[0], reason.value
        session.due_at_once(now[0])
        session.change(now)

    # Counting

    def count(self, items: Sequence[CountItem], now: Moment) -> list[Counted]:
        """Count seconds of many sessions."""
        return [self._count(item, now[0]) for item in items]

    def _count(self, item: CountItem, now: int) -> Counted:
        session = self._numbered_as(item)
        if session is None:
            return Counted(CountStatus.ABSENT)
        if session.ended_at is not None:
            return _answer(session, CountStatus.ENDED)
        return self._count_in(session, item, now, now + self.rules.future_seconds)

    def give_back(self, item: CountItem, now: Moment) -> Counted:
        """Count what may have been lost: in an ended session, what was before its end."""
        session = self._numbered_as(item)
        if session is None:
            return Counted(CountStatus.ABSENT)
        latest = now[0] + self.rules.future_seconds
        if session.ended_at is None:
            return self._count_in(session, item, now[0], latest)
        answer = self._count_in(session, item, now[0], min(latest, session.ended_at))
        if answer.new:
            session.expiring = False
            session.due_at_once(now[0])
        return answer

    def _numbered_as(self, item: CountItem) -> Session | None:
        session = self.find(item.key)
        other = session is not None and item.origin not in (None, session.origin)
        return None if other else session

    def _count_in(self, session: Session, item: CountItem, now: int, until: int) -> Counted:
        account = self.accounts.get(session.key.organization_id, Account())
        refused, admitted = self._admit(session, item.ranges, now, until)
        moments = [now, *(session.origin + second for second in admitted)]
        if not all(account.is_hot(moment, session.user_id) for moment in moments):
            known = account.is_known
            return Counted(CountStatus.MEMBER_COLD if known else CountStatus.ACCOUNT_COLD)
        new = over_limit = 0
        for second in admitted:
            if second in session.counted:
                continue
            moment = session.origin + second
            if account.has_room(moment, session.user_id) or _in_grace(session, second, account):
                self._add(session, second)
                self._make_pending(session, session.minute_of(second))
                new += 1
            else:
                over_limit += 1
        session.hear(now)
        answer = _answer(session, CountStatus.COUNTED)
        return replace(
            answer,
            end_reason="",
            new=new,
            over_limit=over_limit,
            too_late=refused[0],
            in_future=refused[1],
            over_duration=refused[2],
            standing=account.standing(now, session.user_id),
        )

    def _admit(
        self, session: Session, ranges: Iterable[tuple[int, int]], now: int, until: int
    ) -> tuple[tuple[int, int, int], list[int]]:
        """How many are too late, in the future and over the duration; and the others."""
        earliest = max(0, now - self.rules.late_seconds - session.origin)
        latest = until - session.origin
        account = self.accounts.get(session.key.organization_id, Account())
        longest = account.terms.longest(self.rules.max_session_seconds)
        late = future = long = 0
        admitted: list[int] = []
        for first, last in ranges:
            late += _overlap(first, last, None, earliest - 1)
            future += _overlap(first, last, max(earliest, latest + 1), None)
            long += _overlap(first, last, max(earliest, longest), latest)
            admitted += range(max(first, earliest), min(last, latest, longest - 1) + 1)
        return (late, future, long), admitted

    def _add(self, session: Session, second: int) -> None:
        """A second counts: an element of the session's set, and of the account's figures'."""
        session.counted.add(second)
        account = self.accounts.get(session.key.organization_id, Account())
        for figure in account.figures(session.origin + second, session.user_id):
            figure.counted.add((session.key.session_id, second))

    def _make_pending(self, session: Session, minute: int) -> None:
        if minute not in session.pending:
            session.pending.add(minute)
            session.due_by(self._flush_at(minute))

    def _flush_at(self, minute: int) -> int:
        return (minute + 1) * 60 + self.rules.flush_after_seconds

    def record(self, whole: WholeSession, now: Moment) -> Recorded:
        """A session of so many seconds, the last of which is just over: all of it, or nothing."""
        present = self.find(whole.key)
        if present is not None:
            return Recorded(RecordStatus.RECORDED, present.state())
        account = self.accounts.get(whole.key.organization_id, Account())
        session = Session(
            whole.key, whole.user_id, whole.kind, now[0] - whole.seconds, now[0], revision=0
        )
        until = now[0] + self.rules.future_seconds
        refused, admitted = self._admit(session, [(0, whole.seconds - 1)], now[0], until)
        moments = [session.origin + second for second in admitted]
        if not all(account.is_hot(moment, whole.user_id) for moment in [now[0], *moments]):
            known = account.is_known
            return Recorded(RecordStatus.MEMBER_COLD if known else RecordStatus.ACCOUNT_COLD)
        over = account.missing_room(moments, whole.user_id)
        if refused[0] + refused[2] + over:
            return Recorded(RecordStatus.REFUSED, None, refused[0], over, refused[2])
        self.sessions[partition_of(whole.key.organization_id), whole.key.session_id] = session
        for second in admitted:
            self._add(session, second)
            self._make_pending(session, session.minute_of(second))
        self._end(session, EndReason.STOPPED, now)
        return Recorded(RecordStatus.RECORDED, session.state())

    # Looking

    def look(self, items: Sequence[LookItem], now: Moment) -> list[Look]:
        """Organizations as they are now. Changes nothing."""
        return [self._look(item, now[0]) for item in items]

    def _look(self, item: LookItem, now: int) -> Look:
        live = self.live_sessions(item.organization_id)
        return Look(
            len(live),
            tuple(live[: item.most_sessions]),
            tuple(self._level(item.organization_id, user_id, now) for user_id in item.user_ids),
        )

    def live_sessions(self, organization_id: str) -> list[ActiveSession]:
        """Those that began last first."""
        live = [
            ActiveSession(
                each.key.session_id, each.user_id, each.kind, each.origin, len(each.counted)
            )
            for each in self.sessions.values()
            if each.key.organization_id == organization_id and each.ended_at is None
        ]
        return sorted(live, key=lambda each: (each.origin, each.session_id), reverse=True)

    def _level(self, organization_id: str, user_id: str, now: int) -> Standing | Coldness:
        account = self.accounts.get(organization_id, Account())
        if account.is_hot(now, user_id):
            return account.standing(now, user_id)
        return Coldness.MEMBER_COLD if account.is_known else Coldness.ACCOUNT_COLD

    # Making durable

    def collect(
        self,
        partition: int,
        flusher_id: str,
        limit: int,
        now: Moment,
        own_time: int | None = None,
    ) -> Collected:
        """End lost sessions, if the clocks agree, take the lease, and give what is due; the
        earliest first."""
        if self.leases.setdefault(partition, flusher_id) != flusher_id:
            return Collected(CollectStatus.LEASED)
        sessions = [found for (home, _), found in self.sessions.items() if home == partition]
        agree = own_time is None or abs(own_time - now[0]) < APART_SECONDS
        for session in sessions:
            session.set_back(now[0])
            live = session.ended_at is None
            if live and agree and session.sweep(now[0], self.rules.lost_after_seconds):
                self._end(session, EndReason.LOST, now)
        due = [
            (session.due, session.key.session_id, session)
            for session in sessions
            if session.due is not None and session.due <= now[0]
        ]
        chosen = [session for _, _, session in sorted(due, key=lambda row: row[:2])[:limit]]
        return Collected(
            CollectStatus.MINE,
            tuple(self._due_session(session, now[0]) for session in chosen),
            len(chosen) == limit,
        )

    def _due_session(self, session: Session, now: int) -> DueSession:
        """All minutes of an ended session are due, else those that are over, and those of a clock
        that was set back."""
        row_due = session.revision != session.durable
        minutes = [
            Minute(minute, session.mask(minute))
            for minute in sorted(session.pending)
            if session.ended_at is not None
            or not now < self._flush_at(minute) <= now + FARTHEST_SECONDS
        ]
        metadata = session.metadata if row_due else ""
        return DueSession(session.state(), row_due, metadata, tuple(minutes))

    def settle(self, settlements: Sequence[Settlement], now: Moment) -> None:
        """Let go of what Postgres has committed, and of nothing else."""
        for settlement in settlements:
            session = self.find(settlement.key)
            if session is not None:
                self._settle(session, settlement, now[0])

    def _settle(self, session: Session, settlement: Settlement, now: int) -> None:
        for row in settlement.minutes:
            if row.minute < session.minute_of(0):
                continue
            for second in set(seconds_of(session.origin, row)) - session.counted:
                self._add(session, second)  # only Postgres had it; it is billed, so it counts
            if session.mask(row.minute) & ~row.mask == 0:
                session.pending.discard(row.minute)
        if settlement.revision == session.revision:
            session.durable, session.metadata = session.revision, ""
        session.refused = None
        self._reschedule(session, now)

    def _reschedule(self, session: Session, now: int) -> None:
        ended = session.ended_at is not None
        if session.revision != session.durable or (session.pending and ended):
            session.due = now
        elif session.pending:
            session.due = max(self._flush_at(min(session.pending)), now + 1)
        else:
            session.due = None
            session.expiring = session.expiring or ended

    def set_aside(self, key: SessionKey, error: str, now: Moment) -> None:
        """Postgres refused it: keep it, and try again later. Unless it was settled meanwhile."""
        session = self.find(key)
        if session is not None and session.due is not None:
            session.refused, session.due = error, now[0] + self.rules.retry_refused_seconds

    def release(self, partition: int, flusher_id: str) -> None:
        """Give a lease back; another's stays."""
        if self.leases.get(partition) == flusher_id:
            del self.leases[partition]

    def backlog(self, now: Moment) -> Backlog:
        """What isn't durable yet."""
        sessions = self.sessions.values()
        due = [each.due for each in sessions if each.due is not None and each.due <= now[0]]
        return Backlog(
            sessions_due=len(due),
            oldest_due_at=min(due, default=None),
            set_aside=sum(session.refused is not None for session in sessions),
            live_sessions=sum(session.ended_at is None for session in sessions),
        )


def _answer(session: Session, status: CountStatus) -> Counted:
    return Counted(
        status,
        seconds=len(session.counted),
        highest=session.highest,
        durable_through=session.durable_through,
        owner=session.owner,
        end_reason=session.end_reason or "",
    )


def _in_grace(session: Session, second: int, account: Account) -> bool:
    """Whether a second counts for which there is no room: one of those from the first such one
    on that the terms bill as the session's grace."""
    if not account.terms.grace_is_overage:
        return False
    if session.grace_from is None:
        session.grace_from = second
    return 0 <= second - session.grace_from < account.terms.grace(0)


def _overlap(first: int, last: int, low: int | None, high: int | None) -> int:
    """How many of first..last are in low..high, all inclusive."""
    first = first if low is None else max(first, low)
    last = last if high is None else min(last, high)
    return max(0, last - first + 1)
