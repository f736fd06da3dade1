"""Compares what the recorders wrote down with what was billed, second by second. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from meter.codes import ErrorCode
from meter.seconds import ranges_of
from tests.faults.alerts import Noted, judge_alerts
from tests.faults.book import Book
from tests.faults.ends import judge_end
from tests.faults.losses import COUNTED_SECONDS, Losses

Account = tuple[str, str]  # organization, user

# What was under way when others used up a limit, and its recorder was told of another end.
UNANSWERED_SECONDS = 10


@dataclass(frozen=True)
class Bill:
    """What Postgres and the ledger say at the end. Seconds are epoch seconds."""

    billed: Mapping[UUID, set[int]]
    # By organization, and by member: the ledger's figures of the month; those it has.
    ledger: Mapping[str, int] = field(default_factory=dict)
    ledger_members: Mapping[Account, int] = field(default_factory=dict)
    # What the derived figures say that differs from the rows, and sessions that never ended.
    wrong_figures: Sequence[str] = ()
    # What `usage_alerts` has; None: it wasn't asked.
    alerts: Sequence[Noted] | None = None
    still_live: Sequence[UUID] = ()


@dataclass(frozen=True)
class Caps:
    """Limits in seconds; who isn't named has none."""

    organizations: Mapping[str, int] = field(default_factory=dict)
    members: Mapping[Account, int] = field(default_factory=dict)

    def hold_for(self, organization_id: str, user_id: str) -> bool:
        """Whether any limits this member's sessions."""
        return organization_id in self.organizations or (organization_id, user_id) in self.members


@dataclass
class Verdict:
    """`lost`: seconds owed and not billed. `twice`: seconds billed that nobody recorded, or that
    were refused, and by how much a figure is above the rows it stands for. `findings` say where."""

    sessions: int = 0
    recorded: int = 0
    counted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0
    over_limit: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.findings


def judge(
    books: Iterable[Book], bill: Bill, caps: Caps | None = None, losses: Losses | None = None
) -> Verdict:
    """The verdict over all sessions of the books. `losses`: what faults took from two holders."""
    books, caps, losses = list(books), caps or Caps(), losses or Losses()
    verdict = Verdict(sessions=len(books))
    totals = _Totals(books, bill, losses)
    for book in books:
        _judge_session(book, bill.billed.get(book.session_id, set()), totals, caps, verdict)
        has_limit = caps.hold_for(book.organization_id, book.user_id)
        used_up = totals.full(book, caps)
        verdict.findings += judge_end(book, has_limit=has_limit, used_up=used_up, losses=losses)
        verdict.findings += _judge_beginnings(book, losses)
    _judge_strangers(books, bill, verdict)
    _judge_limits(totals, caps, verdict)
    _judge_ledger(totals, bill, verdict)
    if bill.alerts is not None:
        _judge_alerts(totals, caps, bill.alerts, verdict)
    for session_id in bill.still_live:
        verdict.findings.append(f"session {session_id} is still live")
    verdict.findings += bill.wrong_figures
    return verdict


class _Totals:
    """Billed seconds by organization and by member; and those that may have been counted once, but
    were lost together with the ledger and the recorder that vanished."""

    def __init__(self, books: Iterable[Book], bill: Bill, losses: Losses) -> None:
        self.organizations: Counter[str] = Counter()
        self.members: Counter[Account] = Counter()
        self._losses = losses
        self._vanished: Counter[str | Account] = Counter()
        self._once: Counter[str | Account] = Counter()
        for book in books:
            billed = bill.billed.get(book.session_id, set())
            account = (book.organization_id, book.user_id)
            self.organizations[account[0]] += len(billed)
            self.members[account] += len(billed)
            gone = len((book.claimed & (book.sent | book.counted)) - billed)
            for name in (account[0], account):
                self._vanished[name] += gone if self.excused(book) else 0
                # What is given back may find that others have used up the limit meanwhile.
                self._once[name] += gone if losses.valkey else 0

    def excused(self, book: Book) -> bool:
        """Whether a recorder vanished, and both holders of what it had sent lost that, too."""
        return book.abandoned and self._losses.excuse(book.vanished_at, book.heard_at, book.holder)

    def given_back(self, second: int, book: Book) -> bool:
        """Whether a limit may have refused a second that was counted: Valkey lost it before it was
        durable, and others used up the limit before it came back."""
        counted_at = book.confirmed.get(second)
        return counted_at is None or self._losses.valkey_lost_counted(counted_at)

    def used(self, organization_id: str, user_id: str | None) -> tuple[int, int]:
        """Seconds billed to an organization or a member; and those that may once have counted."""
        if user_id is None:
            billed, once = self.organizations[organization_id], self._once[organization_id]
        else:
            account = (organization_id, user_id)
            billed, once = self.members[account], self._once[account]
        return billed, billed + once

    def full(self, book: Book, caps: Caps) -> bool:
        """Whether one of the limits that hold for a session was used up, once at least."""
        account = (book.organization_id, book.user_id)
        organization, member = caps.organizations.get(account[0]), caps.members.get(account)
        used = self.organizations[account[0]] + self._vanished[account[0]]
        used_by_member = self.members[account] + self._vanished[account]
        return (organization is not None and used >= organization) or (
            member is not None and used_by_member >= member
        )


def _judge_session(
    book: Book, billed: set[int], totals: _Totals, caps: Caps, verdict: Verdict
) -> None:
    verdict.recorded += len(book.recorded)
    verdict.counted += len(billed)
    for code, seconds in book.refused.items():
        verdict.refused[code] += len(seconds)
    missing, extra = book.owed - billed, billed - book.claimed
    if totals.excused(book):
        missing &= book.durable
    if missing and totals.full(book, caps):
        over = _over_limit(book, missing, len(billed))
        over = {second for second in over if totals.given_back(second, book)}
        verdict.refused["limit_reached"] += len(over)
        missing -= over
    if missing:
        verdict.lost += len(missing)
        verdict.findings.append(f"lost: {_where(book, missing)}")
    verdict.refused["second_in_future"] += len(book.unsure - billed)
    if book.abandoned:
        kept = book.durable if totals.excused(book) else book.owed
        verdict.refused["never_confirmed"] += len(book.claimed - kept - billed)
    if extra:
        verdict.twice += len(extra)
        verdict.findings.append(f"billed, and not recorded: {_where(book, extra)}")


def _over_limit(book: Book, missing: set[int], billed: int) -> set[int]:
    """Those that a limit that is used up excuses: where its recorder wasn't told so, but of another
    end with more seconds than are billed, only the last ones; and of one that came back after its
    session's end, those since it was last answered. An ack covers what the limit refused,
    too, but says how many seconds there are: with fewer than were once durable, none that it called
    so is excused."""
    if billed < book.durable_seconds:
        missing = missing - book.durable
    if book.limited or (book.end is not None and book.end.session_seconds == billed):
        return missing
    unanswered = UNANSWERED_SECONDS
    if book.end is not None and book.end.reason == ErrorCode.SESSION_ENDED:
        unanswered += book.unanswered_seconds
    return {second for second in missing if second > max(book.recorded) - unanswered}


def _judge_beginnings(book: Book, losses: Losses) -> Iterator[str]:
    """A session begins anew, and seconds before that are too late, only where Valkey lost it since
    its recorder was last answered."""
    for heard_at, told_at in book.begun_anew:
        if not losses.valkey_lost(heard_at - COUNTED_SECONDS, told_at):
            yield f"session {book.session_id} began anew, and Valkey had not lost it"
    late = book.refused.get("second_too_late")
    if late and not book.begun_anew:
        yield f"called too late, and it never began anew: {_where(book, late)}"


def _judge_strangers(books: Iterable[Book], bill: Bill, verdict: Verdict) -> None:
    known = {book.session_id for book in books}
    for session_id, seconds in bill.billed.items():
        if seconds and session_id not in known:
            verdict.twice += len(seconds)
            verdict.findings.append(f"{len(seconds)} s billed of session {session_id} of no book")


def _judge_limits(totals: _Totals, caps: Caps, verdict: Verdict) -> None:
    used = [
        *((name, totals.organizations[name], cap) for name, cap in caps.organizations.items()),
        *(("/".join(who), totals.members[who], cap) for who, cap in caps.members.items()),
    ]
    for name, seconds, cap in used:
        if seconds > cap:
            verdict.over_limit += seconds - cap
            verdict.findings.append(f"{name} has {seconds} s billed, and a limit of {cap} s")


def _judge_ledger(totals: _Totals, bill: Bill, verdict: Verdict) -> None:
    figures = [
        *((name, used, totals.organizations[name]) for name, used in bill.ledger.items()),
        *(("/".join(who), used, totals.members[who]) for who, used in bill.ledger_members.items()),
    ]
    for name, used, billed in figures:
        if used != billed:
            verdict.twice += max(used - billed, 0)
            verdict.findings.append(
                f"the ledger has {used} s for {name}, and {billed} s are billed"
            )


def _judge_alerts(totals: _Totals, caps: Caps, noted: Sequence[Noted], verdict: Verdict) -> None:
    limits: list[tuple[str, str | None, int]] = [
        *((name, None, cap) for name, cap in caps.organizations.items()),
        *((name, user, cap) for (name, user), cap in caps.members.items()),
    ]
    for name, user, cap in limits:
        verdict.findings += judge_alerts(name, user, cap, totals.used(name, user), noted)
    known = {(name, user) for name, user, _ in limits}
    for each in noted:
        if (each.organization_id, each.user_id) not in known:
            verdict.findings.append(f"an alert of an account without a limit: {each}")


def _where(book: Book, seconds: set[int]) -> str:
    first = min(seconds)
    mask = sum(1 << (second - first) for second in seconds)
    ranges = [f"{start}-{end}" for start, end in ranges_of(mask, first)]
    shown = ", ".join(ranges[:5]) + (", …" if len(ranges) > 5 else "")
    end = (
        f"{book.end.reason} ({book.end.code}) with {book.end.session_seconds} s"
        if book.end
        else "abandoned"
    )
    return (
        f"{len(seconds)} s of session {book.session_id} of {book.organization_id}/{book.user_id} "
        f"({end}; {book.connections} connections, {book.new_origins} new beginnings, "
        f"{book.refusals} refusals; sent {len(seconds & book.sent)}, counted "
        f"{len(seconds & book.counted)}, durable {len(seconds & book.durable)}, held in doubt "
        f"{len(seconds & book.doubtful)}; recorded {len(book.recorded)} s from "
        f"{min(book.recorded)} to {max(book.recorded)}): {shown}"
        + "".join(f"\n    {moment:.1f} {what}" for moment, what in book.trail)
    )
