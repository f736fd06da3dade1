"""Random commands against the function library and its reference model, as hypothesis rules.

The rules play gateways, flushers, operators, a clock that is set back and forth, a Redis that loses
its keys or fails over to a replica that was behind, and a Postgres that never loses anything.

One thing they don't do: let a flusher that began before a loss commit between the seeding of an
account and the return of one of its sessions. The figure then lacks those seconds until the next
seeding; Postgres, and so the bill, has them.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from meter.codes import EndReason
from meter.ledger.keys import partition_of
from meter.ledger.listing import PageRequest, Position
from meter.ledger.types import (
    UNLIMITED,
    CollectStatus,
    Counted,
    CountItem,
    CountStatus,
    DueSession,
    LookItem,
    Opened,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
    SessionState,
    Settlement,
)
from meter.ledger.whole import Recorded, RecordStatus, WholeSession
from meter.periods import around, month_of, month_start
from meter.terms import Terms
from tests.ledger.postgres import Postgres, unknown_to_postgres
from tests.ledger.world import Snapshot, World

# Short enough that random commands come upon each of them.
RULES = Rules(
    late_seconds=150,
    max_session_seconds=400,
    lost_after_seconds=60,
    resume_seconds=120,
    retry_refused_seconds=60,
)

# Ahead of any real clock, as the server's own expiry times follow that one.
START = month_start(2100, 3) - 300

# The first two organizations share a partition; two users share the first.
USERS = (
    ("org_1", "ann", "a1"),
    ("org_1", "ann", "a2"),
    ("org_1", "bob", "b1"),
    ("org_33", "cem", "c1"),
    ("org_2", "dee", "d1"),
)
WHO = {SessionKey(organization, name): user for organization, user, name in USERS}
KEYS = tuple(WHO)
PARTITIONS = tuple({partition_of(key.organization_id): None for key in KEYS})
FLUSHERS = ("flusher-1", "flusher-2")
HUGE = 2**53

keys = st.sampled_from(KEYS)
offsets = st.one_of(
    st.integers(-4, 4), st.integers(-60, 0), st.integers(-200, 10), st.integers(-HUGE, HUGE)
)
lengths = st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 130))


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[bool, int, int]]:
    """Ranges, near the present second of a session or near its start."""
    return draw(st.lists(st.tuples(st.booleans(), offsets, lengths), min_size=0, max_size=3))


@st.composite
def plans(draw: st.DrawFn) -> Terms:
    """Terms, mostly the defaults."""
    return Terms(
        overage_seconds=draw(st.sampled_from((0, 0, 1, 40, UNLIMITED))),
        most_sessions=draw(st.sampled_from((UNLIMITED, UNLIMITED, 1, 2))),
        longest_seconds=draw(st.sampled_from((UNLIMITED, UNLIMITED, 1, 130, 5000))),
        grace_seconds=draw(st.sampled_from((0, 1, 20))),
        grace_is_overage=draw(st.sampled_from((False, False, True))),
    )


class LedgerMachine(RuleBasedStateMachine):
    """See the module. `new_world` gives an empty ledger."""

    def __init__(self, new_world: Callable[[int], World]) -> None:
        super().__init__()
        self.world = new_world(START)
        self.postgres = Postgres()
        self.owner = 0
        self.collected: list[tuple[DueSession, int]] = []  # with the incarnation it is from
        self.committed: list[Settlement] = []
        self.replica: Snapshot | None = None
        self.incarnation = 0
        self.figures_are_exact = True
        self.told_durable: dict[SessionKey, set[int]] = {}
        self.known: dict[SessionKey, SessionState] = {}

    @initialize(live=st.sets(keys))
    def some_sessions_are_live(self, live: set[SessionKey]) -> None:
        for key in sorted(live, key=KEYS.index):
            self._start(key)

    # Clock

    @rule(seconds=st.sampled_from((1, 2, 3, 10, 30, 60, 61, 119, 130, 1000)))
    def time_passes(self, seconds: int) -> None:
        self.world.set_clock(self.world.now + seconds)

    @rule(seconds=st.integers(1, 40), silent=st.sets(keys, max_size=2))
    def sessions_go_on(self, seconds: int, silent: set[SessionKey]) -> None:
        self.world.set_clock(self.world.now + seconds)
        items = [
            self._item(key, [(True, 1 - seconds, seconds - 1)])
            for key in KEYS
            if key not in silent and self._is_live(key)
        ]
        self._count(items)

    @rule(seconds=st.sampled_from((1, 3, 70, 500)))
    def the_clock_steps_back(self, seconds: int) -> None:
        self.world.set_clock(self.world.now - seconds)

    @rule(seconds=st.integers(0, 3))
    def a_month_is_about_to_end(self, seconds: int) -> None:
        self.world.set_clock(month_of(self.world.now).end - seconds)

    # Gateways

    @rule(key=keys, create=st.booleans(), metadata=st.sampled_from(("", '{"a":1}')))
    def opens(self, key: SessionKey, create: bool, metadata: str) -> None:
        # A gateway asks Postgres before it makes a session.
        unknown = self.postgres.load_session(key) is None
        self._open(key, WHO[key], create and unknown, metadata)

    @rule(key=keys)
    def starts_as_a_gateway_does(self, key: SessionKey) -> None:
        self._start(key)

    @rule(key=keys, organization=st.sampled_from(("org_1", "org_33")))
    def another_user_asks_for_a_session(self, key: SessionKey, organization: str) -> None:
        other = SessionKey(organization, key.session_id)
        present = self.world.model.find(other)
        opened = self._open(other, "eve", False)
        assert present is None or opened.status is OpenStatus.FOREIGN

    @rule(key=keys, ranges=spans(), as_a_gateway=st.booleans())
    def sends_seconds(
        self, key: SessionKey, ranges: list[tuple[bool, int, int]], as_a_gateway: bool
    ) -> None:
        (answer,) = self._count([self._item(key, ranges)])
        if as_a_gateway and answer.status in (CountStatus.ACCOUNT_COLD, CountStatus.MEMBER_COLD):
            self._seed(key)
            self._count([self._item(key, ranges)])
        elif as_a_gateway and answer.status is not CountStatus.COUNTED:
            self._start(key)
            self._count([self._item(key, ranges)])

    @rule(key=keys, ranges=spans())
    def gives_seconds_back(self, key: SessionKey, ranges: list[tuple[bool, int, int]]) -> None:
        self.world.give_back(self._item(key, ranges))

    @rule(batch=st.lists(st.tuples(keys, spans()), max_size=6))
    def a_gateway_sends_a_batch(
        self, batch: list[tuple[SessionKey, list[tuple[bool, int, int]]]]
    ) -> None:
        self._count([self._item(key, ranges) for key, ranges in batch])

    @rule(key=keys, span=st.tuples(st.booleans(), st.integers(-9, 9), st.sampled_from((0, 3))))
    def sends_the_same_seconds_twice(self, key: SessionKey, span: tuple[bool, int, int]) -> None:
        item = self._item(key, [span])
        once, again = self._count([item, item])
        assert again.new == 0
        assert (again.seconds, again.status) == (once.seconds, once.status)

    @rule(most=st.sampled_from((0, 1, 2, 100)))
    def dashboards_look(self, most: int) -> None:
        items = (
            LookItem("org_1", ("ann", "bob", "nobody"), most),
            LookItem("org_33", ("cem",), most),
            LookItem("org_2", ("dee",), most),
            LookItem("org_unknown", ("ann",), most),
        )
        self.world.look(*items)

    @rule(
        most=st.integers(1, 3),
        organization=st.sampled_from((None, "org_1", "org_33", "org_unknown")),
        place=st.none() | st.tuples(st.integers(-100, 0), st.sampled_from(("", "a2", "c1", "~"))),
    )
    def operators_page(
        self, most: int, organization: str | None, place: tuple[int, str] | None
    ) -> None:
        after = None if place is None else Position(self.world.now + place[0], place[1])
        while self.world.page(request := PageRequest(organization, most, after)).next:
            after = self.world.page(request).next
        self.world.census(most)
        self.world.find_by_id("b1")

    @rule(key=keys)
    def puts_back_what_the_ledger_lost(self, key: SessionKey) -> None:
        if self.world.model.find(key) is None and key in self.known:
            stored = self.postgres.load_session(key) or unknown_to_postgres(self.known[key])
            self.world.restore(stored, "{}")

    @rule(key=keys)
    def seeds(self, key: SessionKey) -> None:
        self._seed(key)

    @rule(key=keys, told=st.sampled_from(("1-2;m10", "1-2;m10,p90")))
    def is_warned(self, key: SessionKey, told: str) -> None:
        self.world.note_told(key, told)

    @rule(key=keys, reason=st.sampled_from(EndReason), at_least=st.integers(0, 5))
    def ends(self, key: SessionKey, reason: EndReason, at_least: int) -> None:
        self.world.close(key, reason, at_least)

    @rule(key=keys, seconds=st.integers(1, 5) | st.integers(1, 450))
    def minutes_come_as_a_number(self, key: SessionKey, seconds: int) -> None:
        # A gateway asks Postgres before it records.
        if self.postgres.load_session(key) is not None:
            return
        self._record(key, seconds)
        answer = self._record(key, seconds)
        assert answer.status is not RecordStatus.REFUSED or self.world.model.find(key) is None

    def _record(self, key: SessionKey, seconds: int) -> Recorded:
        answer = self.world.record(WholeSession(key, WHO[key], "tracked", seconds))
        if answer.session is not None:
            self.known[key] = answer.session
        elif answer.status is not RecordStatus.REFUSED:
            self._seed(key)
        return answer

    # Operators

    @rule(
        key=keys,
        of_member=st.booleans(),
        limit=st.one_of(
            st.sampled_from((UNLIMITED, 0, 1)), st.integers(0, 300), st.just("at the edge")
        ),
        more=st.integers(-2, 3),
    )
    def a_limit_is_set(self, key: SessionKey, of_member: bool, limit: int | str, more: int) -> None:
        user = WHO[key] if of_member else ""
        if isinstance(limit, str):
            figures = self.postgres.load_account(
                key.organization_id, WHO[key], around(self.world.now)
            )
            used = figures.member_used if of_member else figures.organization_used
            account = self.world.model.accounts.get(key.organization_id)
            present = [] if account is None else account.figures(self.world.now, WHO[key])
            limit = max(present[of_member].used if len(present) == 2 else used[1], 2) + more
        self.postgres.set_limit(key.organization_id, user, limit)
        self._seed(key)

    @rule(key=keys, plan=plans(), told=st.booleans())
    def a_plan_is_changed(self, key: SessionKey, plan: Terms, told: bool) -> None:
        self.postgres.set_terms(key.organization_id, plan)
        if told:
            self.world.set_limits(self.postgres.load_limits(key.organization_id))
        else:
            self._seed(key)

    @rule(
        key=keys,
        of_member=st.booleans(),
        seconds=st.integers(-50, 50),
        before=st.booleans(),
        told=st.booleans(),
    )
    def seconds_are_adjusted_by_hand(
        self, key: SessionKey, of_member: bool, seconds: int, before: bool, told: bool
    ) -> None:
        earlier, present, _ = around(self.world.now)
        self.postgres.adjust(
            key.organization_id,
            WHO[key] if of_member else None,
            (earlier if before else present).start,
            seconds,
        )
        if told:
            self.world.set_limits(self.postgres.load_limits(key.organization_id))
        else:
            self._seed(key)

    # Flushers

    @rule(
        partition=st.sampled_from(PARTITIONS),
        flusher=st.sampled_from(FLUSHERS),
        limit=st.sampled_from((1, 2, 100)),
        ahead=st.sampled_from((None, 0, 59, -60)),
    )
    def collects(self, partition: int, flusher: str, limit: int, ahead: int | None) -> None:
        answer = self.world.collect(partition, flusher, limit, ahead)
        self.collected += [(due, self.incarnation) for due in answer.due]

    @precondition(lambda self: self.collected)
    @rule(data=st.data(), all_minutes=st.booleans())
    def commits(self, data: st.DataObject, all_minutes: bool) -> None:
        due, incarnation = self._take(data, self.collected)
        if incarnation != self.incarnation and not self._may_commit_after_a_loss(due.state.key):
            return
        minutes = due.minutes
        if not all_minutes and minutes:
            minutes = tuple(data.draw(st.lists(st.sampled_from(minutes), unique=True)))
        settlement = self.postgres.commit(due, minutes)
        if incarnation != self.incarnation:
            self.world.settle([settlement])
        self.committed.append(settlement)

    @precondition(lambda self: self.committed)
    @rule(data=st.data(), again=st.booleans())
    def settles(self, data: st.DataObject, again: bool) -> None:
        first = self._take(data, self.committed)
        self.world.settle([first])
        if again:
            self.committed.append(first)

    @precondition(lambda self: self.committed)
    @rule()
    def settles_all(self) -> None:
        for partition in PARTITIONS:
            self.world.settle(
                [
                    each
                    for each in self.committed
                    if partition_of(each.key.organization_id) == partition
                ]
            )
        self.committed.clear()

    @rule()
    def an_operator_looks_at_the_backlog(self) -> None:
        self.world.assert_same_backlog()

    @rule()
    def flushes(self) -> None:
        self._flush("flusher-1")

    @precondition(lambda self: self.collected)
    @rule(data=st.data())
    def postgres_refuses(self, data: st.DataObject) -> None:
        due, _ = self._take(data, self.collected)
        self.world.set_aside(due.state.key, "violates a constraint")

    @rule(partition=st.sampled_from(PARTITIONS), flusher=st.sampled_from(FLUSHERS))
    def gives_its_lease_back(self, partition: int, flusher: str) -> None:
        self.world.release(partition, flusher)

    @rule(partition=st.sampled_from(PARTITIONS))
    def a_flusher_dies_and_its_lease_runs_out(self, partition: int) -> None:
        self.world.lease_runs_out(partition)

    # Loss

    @rule(key=keys)
    def an_ended_session_is_forgotten(self, key: SessionKey) -> None:
        session = self.world.model.find(key)
        if session is not None and session.expiring:
            self.world.forget(session)

    @rule()
    def a_replica_catches_up(self) -> None:
        self.replica = self.world.snapshot()

    @precondition(lambda self: self.replica is not None)
    @rule()
    def fails_over(self) -> None:
        assert self.replica is not None
        self.world.fail_over_to(self.replica)
        self.figures_are_exact = False

    @rule(really=st.integers(0, 3))
    def all_keys_are_lost(self, really: int) -> None:
        if really == 0:
            self.world.lose_all_keys()
            self.replica, self.figures_are_exact = None, True
            self.incarnation += 1

    # What always holds

    @invariant()
    def the_library_is_as_the_model_and_the_sets_are_right(self) -> None:
        self.world.assert_same_state()
        self._assert_figures_are_the_sizes_of_the_sets()
        self._assert_what_is_called_durable_is_in_postgres()

    def _assert_figures_are_the_sizes_of_the_sets(self) -> None:
        for organization_id, account in self.world.model.accounts.items():
            for start, figure in account.used.items():
                size = self._counted_in(organization_id, start)
                assert figure.size == size if self.figures_are_exact else figure.size <= size

    def _assert_what_is_called_durable_is_in_postgres(self) -> None:
        for session in self.world.model.sessions.values():
            durable = {n for n in session.counted if n <= session.durable_through}
            self.told_durable.setdefault(session.key, set()).update(
                session.origin + second for second in durable
            )
        for key, moments in self.told_durable.items():
            assert moments <= self.postgres.moments(key)

    def teardown(self) -> None:
        """Every counted second comes to be in Postgres, and then nothing waits."""
        for partition in PARTITIONS:
            self.world.lease_runs_out(partition)
        sessions = self.world.model.sessions.values()
        for _ in range(6):
            waiting = [session.due for session in sessions if session.due is not None]
            self.world.set_clock(max([self.world.now, *waiting]) + 1)
            self._flush("the last one")
        assert not any(session.pending for session in sessions)
        for session in sessions:
            moments = {session.origin + second for second in session.counted}
            assert moments <= self.postgres.moments(session.key)
        assert self.world.model.backlog((self.world.now, 0)).sessions_due == 0
        self.world.assert_same_backlog()
        self.the_library_is_as_the_model_and_the_sets_are_right()

    # Steps that several rules take

    def _is_live(self, key: SessionKey) -> bool:
        session = self.world.model.find(key)
        return session is not None and session.ended_at is None

    def _start(self, key: SessionKey) -> None:
        opened = self._open(key, WHO[key], False)
        if opened.status in (OpenStatus.ACCOUNT_COLD, OpenStatus.MEMBER_COLD):
            self._seed(key)
            opened = self._open(key, WHO[key], False)
        if opened.status is OpenStatus.ABSENT:
            stored = self.postgres.load_session(key)
            if stored is not None:
                self.world.restore(stored, "")
            self._open(key, WHO[key], stored is None)

    def _open(self, key: SessionKey, user_id: str, create: bool, metadata: str = "") -> Opened:
        self.owner += 1
        opened = self.world.open(
            OpenRequest(key, user_id, "recording", self.owner, metadata, create)
        )
        if opened.session is not None:
            self.known[key] = opened.session
        return opened

    def _seed(self, key: SessionKey) -> None:
        periods = around(self.world.now)
        figures = self.postgres.load_account(key.organization_id, WHO[key], periods)
        if key.organization_id in self.world.model.accounts:
            figures = replace(figures, live=None)
        self.world.seed(figures)

    def _item(self, key: SessionKey, ranges: Iterable[tuple[bool, int, int]]) -> CountItem:
        session = self.world.model.find(key)
        origin = session.origin if session else self.world.now
        chosen = []
        for near_present, offset, length in ranges:
            first = (self.world.now - origin if near_present else 0) + offset
            first = max(-HUGE, min(HUGE, first))
            chosen.append((first, min(first + length, HUGE)))
        # Most callers know the origin; now and then it is a former one.
        numbered_from = (None, origin, origin, origin - 1)[len(chosen) % 4]
        return CountItem(key, tuple(sorted(chosen)), numbered_from)

    def _count(self, items: list[CountItem]) -> list[Counted]:
        already = [self._already_counted(item) for item in items]
        answers = self.world.count(items)
        for position, (item, answer) in enumerate(zip(items, answers, strict=True)):
            if answer.status is CountStatus.COUNTED and item.key not in [
                other.key for other in items[:position]
            ]:
                refused = answer.in_future + answer.too_late
                refused += answer.over_limit + answer.over_duration
                sent = sum(last - first + 1 for first, last in item.ranges)
                # Seconds that ranges share count as already counted the second time.
                assert answer.new + refused + already[position] <= sent
        return answers

    def _already_counted(self, item: CountItem) -> int:
        """Of the seconds sent, how many are in the set and would not be refused."""
        session = self.world.model.find(item.key)
        if session is None:
            return 0
        earliest = max(0, self.world.now - RULES.late_seconds - session.origin)
        latest = self.world.now + RULES.future_seconds - session.origin
        return sum(
            earliest <= second <= latest and first <= second <= last
            for second in session.counted
            for first, last in item.ranges
        )

    def _flush(self, flusher: str) -> None:
        for partition in PARTITIONS:
            answer = self.world.collect(partition, flusher, 100)
            if answer.status is CollectStatus.MINE:
                self.world.settle([self.postgres.commit(due, due.minutes) for due in answer.due])

    def _take(self, data: st.DataObject, waiting: list):  # type: ignore[no-untyped-def,type-arg]
        return waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))

    def _may_commit_after_a_loss(self, key: SessionKey) -> bool:
        session = self.world.model.find(key)
        account = self.world.model.accounts.get(key.organization_id)
        if account is None:
            return session is None
        hot = all((period.start, WHO[key]) in account.member_used for period in account.periods)
        return session is not None and hot

    def _counted_in(self, organization_id: str, start: int) -> int:
        """Seconds of an organization in a period: in the ledger, or of sessions it forgot."""
        period = month_of(start)
        total = 0
        for key in KEYS:
            if key.organization_id == organization_id:
                session = self.world.model.find(key)
                moments = (
                    self.postgres.moments(key)
                    if session is None
                    else {session.origin + second for second in session.counted}
                )
                total += sum(moment in period for moment in moments)
        return total
