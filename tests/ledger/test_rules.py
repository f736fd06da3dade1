"""The counting rules one by one, at their edges. The library and its model have to agree."""

from collections.abc import Sequence
from typing import cast

import pytest

from meter.codes import EndReason
from meter.ledger.keys import partition_of
from meter.ledger.model_state import Session
from meter.ledger.types import (
    Counted,
    CountItem,
    CountStatus,
    DueSession,
    Minute,
    OpenRequest,
    OpenStatus,
    SessionKey,
    SessionState,
    Settlement,
)
from meter.periods import Period, around, month_of
from tests.ledger.machine import RULES, START
from tests.ledger.postgres import Postgres, unknown_to_postgres
from tests.ledger.world import Backend, World

ANN, BOB = SessionKey("org_1", "ann's"), SessionKey("org_1", "bob's")
NEIGHBOUR = "org_33"  # in the same partition
USERS = {ANN: "ann", BOB: "bob"}


class Scene:
    """A ledger with a hot account, and the Postgres behind it."""

    def __init__(self, backend: Backend) -> None:
        self.world = World(backend, START)
        self.postgres = Postgres()

    def pass_seconds(self, seconds: int) -> None:
        self.world.set_clock(self.world.now + seconds)

    def pass_a_minute(self) -> None:
        """The present minute comes to be due, and the sessions give signs of life."""
        for _ in range(2):
            self.pass_seconds(31)
            for key in USERS:
                self.world.count([CountItem(key, ())])

    def seed(self, user_id: str = "ann", **limits: int) -> None:
        """`organization` and `member` set limits."""
        for name, seconds in limits.items():
            self.postgres.set_limit("org_1", user_id if name == "member" else "", seconds)
        periods = around(self.world.now)
        self.world.seed(self.postgres.load_account("org_1", user_id, periods))

    def open(self, key: SessionKey = ANN, *, create: bool = True) -> OpenStatus:
        return self.world.open(
            OpenRequest(key, USERS.get(key, "ann"), "recording", 1, '{"a":1}', create)
        ).status

    def start(self, *keys: SessionKey) -> None:
        for key in keys or (ANN,):
            self.seed(USERS[key])
            assert self.open(key) is OpenStatus.CREATED

    def count(self, *ranges: tuple[int, int], key: SessionKey = ANN) -> Counted:
        (answer,) = self.world.count([CountItem(key, ranges)])
        self.world.assert_same_state()
        return answer

    def collect(self, key: SessionKey = ANN) -> tuple[DueSession, ...]:
        return self.world.collect(partition_of(key.organization_id), "flusher", 100).due

    def commit(self, due: Sequence[DueSession]) -> list[Settlement]:
        return [self.postgres.commit(each, each.minutes) for each in due]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self.world.settle(settlements)
        self.world.assert_same_state()

    def flush(self) -> None:
        self.settle(self.commit(self.collect()))

    def session(self, key: SessionKey = ANN) -> Session:
        return cast(Session, self.world.model.find(key))

    def lose_all(self) -> None:
        self.world.lose_all_keys()

    def stored(self, key: SessionKey = ANN) -> SessionState:
        return self.postgres.rows[key].state

    def used(self, period: Period | None = None) -> int:
        start = (period or month_of(self.world.now)).start
        return self.world.model.accounts["org_1"].used[start].used


@pytest.fixture(params=["fakeredis", pytest.param("valkey", marks=pytest.mark.integration)])
def scene(request: pytest.FixtureRequest) -> Scene:
    name = "fake_backend" if request.param == "fakeredis" else "valkey_backend"
    return Scene(request.getfixturevalue(name))


# Counting


def test_a_second_counts_once_alone_in_a_range_and_in_another_batch(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(10)
    assert scene.count((3, 3)).new == 1
    assert scene.count((3, 3)).new == 0
    assert scene.count((2, 4), (3, 3)).new == 2
    assert scene.count((4, 4), (4, 4), (5, 5), (5, 5)).new == 1
    assert scene.count().seconds == 4
    assert scene.used() == 4


def test_the_clock_plus_two_is_allowed_and_the_next_second_is_not(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(5)
    answer = scene.count((7, 7), (8, 8), (9, 11))
    assert (answer.new, answer.in_future) == (1, 4)


def test_the_start_and_the_late_limit_are_the_earliest_seconds(scene: Scene) -> None:
    scene.start()
    assert scene.count((-2, 0)).too_late == 2
    scene.pass_seconds(RULES.late_seconds + 30)
    answer = scene.count((29, 30))
    assert (answer.too_late, answer.new) == (1, 1)
    assert scene.count((29, 29)).too_late == 1


def test_the_last_second_of_the_longest_session_counts_and_none_after_it(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(RULES.max_session_seconds + 1)
    longest = RULES.max_session_seconds
    answer = scene.count((longest - 1, longest - 1), (longest, longest + 1))
    assert (answer.new, answer.over_duration) == (1, 2)
    assert scene.count((longest - 1, longest)).over_duration == 1


def test_a_clock_that_fell_behind_the_start_refuses_all_and_loses_nothing(scene: Scene) -> None:
    scene.start()
    scene.count((0, 1))
    scene.pass_seconds(-100)
    answer = scene.count((-5, -3), (0, 1), (-2, 2))
    assert (answer.new, answer.too_late, answer.in_future, answer.seconds) == (0, 5, 5, 2)


@pytest.mark.parametrize("sent", [(9, 9), (8, 12)], ids=["one second", "a range"])
def test_the_second_that_would_pass_the_limit_is_refused(
    scene: Scene, sent: tuple[int, int]
) -> None:
    scene.start()
    scene.seed(organization=9)
    scene.pass_seconds(20)
    assert scene.count((0, 7)).new == 8
    first = scene.count((8, 8))
    assert (first.new, first.over_limit) == (1, 0)
    over = scene.count(sent)
    assert (over.new, over.over_limit) == (0, sent[1] - max(sent[0], 9) + 1)
    assert scene.used() == 9


def test_sessions_share_the_organizations_limit_and_a_member_has_an_own_one(
    scene: Scene,
) -> None:
    scene.start(ANN, BOB)
    scene.seed("bob", organization=10, member=4)
    scene.pass_seconds(20)
    bobs = scene.count((0, 5), key=BOB)
    assert (bobs.new, bobs.over_limit) == (4, 2)
    anns = scene.count((0, 9))
    assert (anns.new, anns.over_limit) == (6, 4)
    assert scene.used() == 10


def test_what_was_counted_already_is_not_over_the_limit(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(5)
    scene.count((0, 3))
    scene.seed(organization=2)
    answer = scene.count((0, 3), (4, 4))
    assert (answer.new, answer.over_limit) == (0, 1)
    scene.seed(organization=5)
    assert scene.count((4, 4)).new == 1


def test_no_session_starts_or_returns_from_its_end_without_room(scene: Scene) -> None:
    scene.seed(organization=0)
    assert scene.open() is OpenStatus.LIMIT_REACHED
    scene.seed(organization=1)
    assert scene.open() is OpenStatus.CREATED
    scene.count((0, 0))
    assert scene.open() is OpenStatus.RESUMED
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    scene.collect()
    assert scene.open() is OpenStatus.LIMIT_REACHED


def test_seconds_around_a_months_end_count_in_their_own_month(scene: Scene) -> None:
    end = month_of(START).end
    scene.world.set_clock(end - 3)
    scene.start()
    scene.world.set_clock(end + 10)
    assert scene.count((0, 9)).new == 10
    assert [scene.used(month_of(moment)) for moment in (end - 1, end)] == [3, 7]


def test_a_full_month_does_not_hinder_the_next_one(scene: Scene) -> None:
    end = month_of(START).end
    scene.world.set_clock(end - 3)
    scene.start()
    scene.seed(organization=2)
    scene.world.set_clock(end + 10)
    answer = scene.count((0, 9))
    assert (answer.new, answer.over_limit) == (4, 6)


def test_seconds_that_reach_into_a_month_without_figures_wait_until_they_are_there(
    scene: Scene,
) -> None:
    scene.world.set_clock(month_of(START).end - 3)
    periods = around(scene.world.now)[:2]
    scene.world.seed(scene.postgres.load_account("org_1", "ann", periods))
    scene.open()
    scene.pass_seconds(2)
    assert scene.count((0, 4)).status is CountStatus.MEMBER_COLD
    assert scene.count((0, 2)).new == 3
    scene.seed("bob")
    assert scene.count((0, 4)).status is CountStatus.MEMBER_COLD
    scene.seed("ann")
    assert scene.count((0, 4)).new == 2


# Sessions


def test_another_user_or_organization_never_gets_a_session(scene: Scene) -> None:
    scene.start()
    for organization_id, user_id in (("org_1", "bob"), (NEIGHBOUR, "ann"), (NEIGHBOUR, "bob")):
        key = SessionKey(organization_id, ANN.session_id)
        for create in (False, True):
            request = OpenRequest(key, user_id, "recording", 2, create=create)
            assert scene.world.open(request).status is OpenStatus.FOREIGN
    assert scene.count().owner == 1


def test_a_session_is_lost_when_silent_for_longer_than_the_limit(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(RULES.lost_after_seconds)
    (due,) = scene.collect()
    assert due.state.ended_at is None
    scene.count()  # a sign of life
    scene.pass_seconds(RULES.lost_after_seconds)
    assert scene.collect()[0].state.ended_at is None
    scene.pass_seconds(1)
    assert scene.collect()[0].state.end_reason == EndReason.LOST
    assert scene.count((0, 0)).status is CountStatus.ENDED


def test_a_sign_of_life_before_the_clock_fell_back_does_not_keep_a_session_alive(
    scene: Scene,
) -> None:
    scene.start()
    scene.pass_seconds(-500)
    scene.count()
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    scene.collect()
    assert scene.session().end_reason == EndReason.LOST


@pytest.mark.parametrize("ended", [True, False])
def test_what_an_hours_clock_ahead_made_due_is_due_once_that_is_set_back(
    scene: Scene, ended: bool
) -> None:
    scene.pass_seconds(2 * 3600)
    scene.start()
    scene.flush()
    scene.count((0, 0))
    if ended:
        scene.world.close(ANN, EndReason.STOPPED)
    scene.pass_seconds(-3600)
    scene.flush()
    assert scene.postgres.moments(ANN) == {START + 2 * 3600}
    assert (scene.stored().end_reason == EndReason.STOPPED) == ended
    assert scene.collect() == ()


def test_a_session_last_heard_by_an_hours_clock_ahead_is_lost_in_time_once_that_is_set_back(
    scene: Scene,
) -> None:
    scene.start()
    scene.pass_seconds(3600)
    scene.start(BOB)  # one is listed by the right clock, one by the wrong
    scene.count((0, 3599))
    scene.pass_seconds(-3540)
    lost_by = scene.world.now + 2 * RULES.lost_after_seconds + 2
    while scene.world.now < lost_by:
        scene.collect()
        scene.world.assert_same_state()
        if scene.world.now < lost_by - RULES.lost_after_seconds - 2:
            assert scene.session().end_reason is None
        scene.pass_seconds(1)
    assert [scene.session(key).end_reason for key in (ANN, BOB)] == ["lost", "lost"]


def test_a_clock_a_few_seconds_behind_another_changes_no_sign_of_life(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(-5)
    scene.collect()
    assert scene.session().seen == START
    scene.world.assert_same_state()


@pytest.mark.parametrize(("late", "status"), [(0, OpenStatus.RESUMED), (1, OpenStatus.ENDED)])
def test_a_lost_session_resumes_with_what_it_counted_within_the_window(
    scene: Scene, late: int, status: OpenStatus
) -> None:
    scene.start()
    scene.count((0, 2))
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    scene.flush()
    assert scene.session().expiring
    scene.pass_seconds(RULES.resume_seconds + late)
    assert scene.open() is status
    scene.world.assert_same_state()
    assert scene.session().counted == {0, 1, 2}
    scene.flush()
    assert (scene.stored().ended_at is None) == (status is OpenStatus.RESUMED)


@pytest.mark.parametrize("reason", [each for each in EndReason if each is not EndReason.LOST])
def test_a_session_that_ended_otherwise_stays_ended(scene: Scene, reason: EndReason) -> None:
    scene.start()
    scene.world.close(ANN, reason)
    assert scene.open() is OpenStatus.ENDED
    assert scene.count((0, 0)).end_reason == reason
    scene.world.close(ANN, EndReason.ADMIN)
    assert scene.session().end_reason == reason


def test_what_ended_while_the_clock_was_ahead_is_due_once_it_is_set_back(scene: Scene) -> None:
    scene.start()
    scene.flush()
    scene.pass_seconds(10)
    scene.count((0, 9))
    scene.pass_seconds(3600)
    scene.world.close(ANN, EndReason.STOPPED)
    scene.pass_seconds(-3599)
    scene.flush()
    assert scene.session().pending == set()
    assert scene.stored().end_reason == EndReason.STOPPED


@pytest.mark.parametrize(
    ("ahead", "reason"), [(-60, None), (60, None), (59, "lost"), (-59, "lost")]
)
def test_no_session_is_lost_while_the_flushers_clock_and_the_ledgers_are_far_apart(
    scene: Scene, ahead: int, reason: str | None
) -> None:
    scene.start()
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    home = partition_of(ANN.organization_id)
    scene.world.collect(home, "flusher", 100, ahead)
    scene.world.assert_same_state()
    assert scene.session().end_reason == reason
    scene.world.collect(home, "flusher", 100, 0)
    assert scene.session().end_reason == EndReason.LOST


@pytest.mark.parametrize("ended", [False, True])
def test_seconds_that_are_numbered_from_another_beginning_are_not_a_sessions(
    scene: Scene, ended: bool
) -> None:
    scene.start()
    scene.pass_seconds(10)
    if ended:
        scene.world.close(ANN, EndReason.STOPPED)
    origin = scene.session().origin
    former = CountItem(ANN, ((0, 4),), origin - 1)
    assert scene.world.give_back(former).status is CountStatus.ABSENT
    same = CountItem(ANN, ((7, 8),), origin)
    answers = scene.world.count([former, same, former, CountItem(ANN, ())])
    has = CountStatus.ENDED if ended else CountStatus.COUNTED
    assert [each.status for each in answers] == [CountStatus.ABSENT, has, CountStatus.ABSENT, has]
    assert scene.world.give_back(same).status is CountStatus.COUNTED
    scene.world.assert_same_state()
    assert scene.session().counted == {7, 8}


def test_an_ended_session_takes_back_what_was_before_its_end_and_stays_ended(scene: Scene) -> None:
    scene.start()
    scene.count((0, 2))
    scene.pass_seconds(10)
    scene.world.close(ANN, EndReason.ADMIN)
    scene.flush()
    assert scene.session().expiring
    scene.pass_seconds(5)
    answer = scene.world.give_back(CountItem(ANN, ((0, 14),)))
    assert (answer.status, answer.new, answer.in_future) == (CountStatus.COUNTED, 8, 4)
    scene.world.assert_same_state()
    assert scene.session().counted == set(range(11))
    assert scene.session().end_reason == EndReason.ADMIN
    assert not scene.session().expiring
    scene.flush()
    assert scene.session().durable_through == 10
    assert scene.count((0, 14)).status is CountStatus.ENDED


@pytest.mark.parametrize(("at_least", "ends"), [(3, True), (4, False)])
def test_a_session_that_lacks_some_of_its_seconds_goes_on(
    scene: Scene, at_least: int, ends: bool
) -> None:
    scene.start()
    scene.count((0, 2))
    scene.world.close(ANN, EndReason.STOPPED, at_least)
    assert (scene.session().ended_at is not None) is ends


# Making durable


def test_a_minute_is_due_after_its_end_and_all_are_at_the_sessions(scene: Scene) -> None:
    scene.world.set_clock(START // 60 * 60 + 50)
    scene.start()
    scene.flush()
    scene.pass_seconds(10)
    scene.count((8, 11))
    assert scene.collect() == ()
    scene.pass_seconds(1)
    (due,) = scene.collect()
    assert [minute.mask for minute in due.minutes] == [0b11 << 58]
    scene.world.close(ANN, EndReason.STOPPED)
    (due,) = scene.collect()
    assert [minute.mask for minute in due.minutes] == [0b11 << 58, 0b11]


def test_a_second_counted_after_its_minute_was_collected_is_collected_again(
    scene: Scene,
) -> None:
    scene.start()
    scene.count((0, 0))
    scene.pass_a_minute()
    settlements = scene.commit(scene.collect())
    scene.count((1, 1))
    scene.settle(settlements)
    assert scene.count().durable_through == -1
    scene.pass_seconds(1)
    scene.flush()
    assert scene.count().durable_through == 1
    assert scene.postgres.moments(ANN) == {START, START + 1}


def test_every_second_of_a_minute_is_settled_and_comes_back_after_a_loss(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(60)
    scene.count((0, 59))
    scene.pass_seconds(1)
    scene.flush()
    assert scene.count().durable_through == 59
    scene.lose_all()
    scene.seed()
    assert scene.session().counted == set(range(60))
    scene.world.assert_same_state()


def test_a_stale_settlement_lets_go_of_nothing_newer(scene: Scene) -> None:
    scene.start()
    scene.count((0, 1))
    stale = scene.commit(scene.collect())
    scene.world.close(ANN, EndReason.STOPPED)
    scene.settle(stale)
    scene.flush()
    assert scene.stored().end_reason == EndReason.STOPPED
    assert scene.postgres.moments(ANN) == {START, START + 1}


def test_settling_twice_changes_nothing(scene: Scene) -> None:
    scene.start()
    scene.count((0, 1))
    scene.pass_a_minute()
    settlements = scene.commit(scene.collect())
    for _ in range(3):
        scene.settle(settlements)
        assert (scene.count().durable_through, scene.used()) == (1, 2)


def test_a_minute_before_the_sessions_start_is_nothing_to_settle(scene: Scene) -> None:
    scene.start()
    scene.count((0, 1))
    minute = START // 60 - 2
    row = scene.postgres.commit(scene.collect()[0], ())
    scene.settle([Settlement(ANN, row.revision, (Minute(minute, 1),))])
    assert scene.count().seconds == 2


def test_what_postgres_refused_waits_and_is_counted_as_set_aside(scene: Scene) -> None:
    scene.start()
    scene.collect()
    scene.world.set_aside(ANN, "violates a constraint")
    scene.world.assert_same_backlog()
    scene.pass_seconds(RULES.retry_refused_seconds - 1)
    assert scene.collect() == ()
    scene.pass_seconds(1)
    scene.flush()
    scene.world.assert_same_backlog()
    assert scene.session().refused is None


def test_setting_an_unknown_session_aside_leaves_nothing_behind(scene: Scene) -> None:
    scene.seed()
    scene.world.set_aside(ANN, "violates a constraint")
    scene.world.assert_same_backlog()


def test_what_was_settled_meanwhile_is_not_set_aside(scene: Scene) -> None:
    scene.start()
    scene.world.close(ANN, EndReason.STOPPED)
    scene.flush()
    scene.world.set_aside(ANN, "violates a constraint")
    scene.world.assert_same_state()
    scene.world.assert_same_backlog()
    assert scene.session().expiring
    assert scene.session().due is None


def test_a_lease_keeps_other_flushers_away_until_its_holder_gives_it_back(scene: Scene) -> None:
    scene.start()
    home = partition_of(ANN.organization_id)
    assert scene.world.collect(home, "one", 10).due
    assert not scene.world.collect(home, "other", 10).due
    scene.world.release(home, "other")
    assert not scene.world.collect(home, "other", 10).due
    scene.world.release(home, "one")
    assert scene.world.collect(home, "other", 10).due


def test_more_work_than_the_batch_holds_is_said_to_be_there(scene: Scene) -> None:
    scene.start(ANN, BOB)
    home = partition_of(ANN.organization_id)
    first = scene.world.collect(home, "flusher", 1)
    assert (len(first.due), first.more) == (1, True)
    assert not scene.world.collect(home, "flusher", 3).more


# After a loss


def test_an_emptied_ledger_gets_the_account_and_its_live_sessions_from_postgres(
    scene: Scene,
) -> None:
    scene.start(ANN, BOB)
    scene.count((0, 1))
    scene.pass_a_minute()
    scene.count((0, 5), key=BOB)
    scene.flush()
    scene.lose_all()
    assert scene.count((0, 1)).status is CountStatus.ABSENT
    assert scene.open(create=False) is OpenStatus.ACCOUNT_COLD
    scene.seed()
    assert scene.count((0, 2)).new == 1
    assert scene.used() == 9
    assert scene.count(key=BOB).status is CountStatus.MEMBER_COLD
    scene.seed("bob")
    assert scene.count((0, 5), key=BOB).new == 0


def test_seeding_a_hot_account_changes_its_limits_and_no_figure(scene: Scene) -> None:
    scene.start()
    scene.count((0, 1))
    scene.seed(organization=100)
    answer = scene.count()
    assert answer.standing is not None
    assert (answer.standing.used, answer.standing.limit) == (2, 100)


def test_a_session_that_came_back_before_its_account_gets_what_it_lacks(scene: Scene) -> None:
    scene.start()
    scene.count((0, 1))
    scene.pass_a_minute()
    in_flight = scene.collect()
    before = scene.postgres.commit(in_flight[0], ())
    scene.lose_all()
    stored = scene.postgres.load_session(ANN)
    assert stored is not None
    scene.world.restore(stored, "")
    settlements = scene.commit(in_flight)
    scene.seed()
    assert scene.count((0, 1)).new == 0
    scene.settle([before, *settlements])
    assert scene.used() == 2


def test_restoring_a_session_that_is_there_changes_nothing(scene: Scene) -> None:
    scene.start()
    scene.flush()
    scene.count((0, 1))
    stored = scene.postgres.load_session(ANN)
    assert stored is not None
    scene.world.restore(stored, "")
    assert scene.count().seconds == 2


def test_a_session_that_only_its_gateway_knows_comes_back_with_its_origin(
    scene: Scene,
) -> None:
    scene.start()
    state = scene.session().state()
    scene.lose_all()
    scene.pass_seconds(5)
    scene.seed()
    scene.world.restore(unknown_to_postgres(state), '{"a":1}')
    assert scene.count((0, 4)).new == 5
    (due,) = scene.collect()
    assert (due.state.origin, due.row_due, due.metadata) == (START, True, '{"a":1}')


def test_a_lost_session_may_still_be_resumed_after_its_ledger_was_emptied(
    scene: Scene,
) -> None:
    scene.start()
    scene.count((0, 1))
    scene.pass_seconds(RULES.lost_after_seconds + 2)
    scene.flush()
    scene.lose_all()
    stored = scene.postgres.load_session(ANN)
    assert stored is not None
    scene.world.restore(stored, "")
    scene.seed()
    assert scene.open() is OpenStatus.RESUMED
    scene.world.assert_same_state()
    assert (scene.count((0, 2)).new, scene.used()) == (1, 3)


def test_what_a_replica_had_not_seen_is_counted_again_from_what_postgres_has(
    scene: Scene,
) -> None:
    scene.start()
    scene.count((0, 1))
    replica = scene.world.snapshot()
    scene.count((2, 2))
    scene.pass_a_minute()
    settlements = scene.commit(scene.collect())
    scene.world.fail_over_to(replica)
    assert scene.used() == 2
    scene.seed(organization=2)
    scene.settle(settlements)
    assert (scene.used(), scene.count().seconds) == (3, 3)
    assert scene.count((2, 2)).new == 0


def test_what_is_regained_while_the_account_is_cold_is_in_the_figures_it_gets_later(
    scene: Scene,
) -> None:
    scene.start()
    scene.count((0, 1))
    scene.pass_a_minute()
    in_flight = scene.collect()
    scene.postgres.commit(in_flight[0], ())
    scene.lose_all()
    stored = scene.postgres.load_session(ANN)
    assert stored is not None
    scene.world.restore(stored, "")
    scene.settle(scene.commit(in_flight))
    scene.seed()
    assert (scene.count((0, 1)).new, scene.used()) == (0, 2)
