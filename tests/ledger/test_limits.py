"""Limits that are told reach hot accounts; older ones never replace newer ones, whoever is late."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    AccountLimits,
    CountStatus,
    OpenStatus,
    SessionKey,
)
from meter.periods import around
from tests.ledger.machine import KEYS, WHO, LedgerMachine
from tests.ledger.test_rules import ANN, BOB, Scene
from tests.ledger.world import Backend, World

pytestmark = pytest.mark.integration


@pytest.fixture
def scene(valkey_backend: Backend) -> Scene:
    return Scene(valkey_backend)


def read(scene: Scene, user_id: str = "ann") -> AccountFigures:
    """What a gateway reads in Postgres now, to give it to the ledger now or later."""
    return scene.postgres.load_account("org_1", user_id, around(scene.world.now))


def limit(scene: Scene, seconds: int, user_id: str = "") -> AccountLimits:
    """A changed limit, to be told to the ledger now or later."""
    scene.postgres.set_limit("org_1", user_id, seconds)
    return scene.postgres.load_limits("org_1")


def test_the_limits_told_hold_for_the_organization_and_for_each_member(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.pass_seconds(30)
    limit(scene, 10)
    scene.world.set_limits(limit(scene, 4, "bob"))
    assert scene.count((0, 5), key=BOB).new == 4
    assert scene.count((0, 9)).new == 6
    standing = scene.count().standing
    assert standing is not None
    assert (standing.limit, standing.member_limit) == (10, UNLIMITED)


def test_a_raised_limit_lets_exactly_the_difference_through(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.pass_seconds(30)
    scene.world.set_limits(limit(scene, 5))
    assert scene.count((0, 9)).new == 5
    scene.world.set_limits(limit(scene, 6))
    assert [scene.count((0, 9)).new, scene.count((0, 9), key=BOB).new] == [1, 0]


def test_a_limit_below_what_is_used_refuses_all_and_takes_nothing_away(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(30)
    scene.count((0, 9))
    scene.world.set_limits(limit(scene, 3))
    answer = scene.count((0, 19))
    assert (answer.new, answer.over_limit, answer.seconds) == (0, 10, 10)


def test_a_member_who_is_no_longer_named_has_no_limit(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(30)
    scene.world.set_limits(limit(scene, 2, "ann"))
    assert scene.count((0, 9)).new == 2
    changed = limit(scene, UNLIMITED, "ann")
    scene.world.set_limits(replace(changed, member_limits={}))
    assert scene.count((0, 9)).new == 8


def test_limits_told_late_do_not_replace_newer_ones(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(30)
    older, newer = limit(scene, 100), limit(scene, 3)
    scene.world.set_limits(newer)
    scene.world.set_limits(older)
    assert scene.count((0, 9)).new == 3
    scene.world.set_limits(newer)
    assert scene.count((0, 9)).new == 0


def test_an_account_that_is_not_there_is_told_nothing_and_seeded_with_its_limit(
    scene: Scene,
) -> None:
    scene.world.set_limits(limit(scene, 3))
    assert scene.open() is OpenStatus.ACCOUNT_COLD
    scene.start()
    scene.pass_seconds(30)
    assert scene.count((0, 9)).new == 3


def test_figures_read_before_a_change_do_not_bring_the_old_limit_back(scene: Scene) -> None:
    """The change came to a cold account, so nothing else would ever correct it."""
    stale = read(scene)
    scene.world.set_limits(limit(scene, 3))
    scene.world.seed(stale)
    assert scene.open() is OpenStatus.ACCOUNT_COLD
    scene.start()
    scene.pass_seconds(30)
    assert scene.count((0, 9)).new == 3


def test_a_members_figures_read_before_a_change_leave_the_member_cold(scene: Scene) -> None:
    scene.start()
    stale = replace(read(scene, "bob"), live=None)
    scene.world.set_limits(limit(scene, 3, "bob"))
    scene.world.seed(stale)
    assert scene.open(BOB) is OpenStatus.MEMBER_COLD
    scene.start(BOB)
    scene.pass_seconds(30)
    assert scene.count((0, 9), key=BOB).new == 3


def test_the_version_is_forgotten_after_a_while(scene: Scene) -> None:
    """A Postgres that was put back to an earlier day has earlier versions: they have to work."""
    scene.world.set_limits(limit(scene, 3))
    names = scene.world.backend.redis.keys("mm:{*}:v:org_1")
    assert len(names) == 1
    seconds = scene.world.backend.redis.ttl(names[0])
    assert 240 < seconds <= 300


def test_a_member_whose_limit_was_lost_is_cold(scene: Scene) -> None:
    """As after the configuration's time to live, when another member was quicker to seed it."""
    scene.start(ANN, BOB)
    scene.pass_seconds(30)
    (config,) = scene.world.backend.redis.keys("mm:{*}:c:org_1")
    scene.world.backend.redis.hdel(config, "l|bob")
    del scene.world.model.accounts["org_1"].member_limits["bob"]
    assert scene.count((0, 9), key=BOB).status is CountStatus.MEMBER_COLD
    scene.seed("bob", member=3)
    assert scene.count((0, 9), key=BOB).new == 3


def test_a_cold_organization_is_not_seeded_without_its_live_sessions(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(30)
    scene.count((0, 9))
    scene.flush()
    scene.lose_all()
    scene.world.seed(replace(read(scene), live=None))
    assert scene.open(create=False) is OpenStatus.ACCOUNT_COLD
    scene.seed()
    assert scene.open(create=False) is OpenStatus.RESUMED


class LimitsMachine(LedgerMachine):
    """The machine's commands, and limits that change and are told in any order, late or never."""

    def __init__(self, new_world: Callable[[int], World]) -> None:
        super().__init__(new_world)
        self.changed: list[AccountLimits] = []

    @rule(
        key=st.sampled_from(KEYS),
        of_member=st.booleans(),
        seconds=st.sampled_from((UNLIMITED, 0, 1, 60)) | st.integers(0, 300),
    )
    def a_limit_changes_in_postgres(self, key: SessionKey, of_member: bool, seconds: int) -> None:
        self.postgres.set_limit(key.organization_id, WHO[key] if of_member else "", seconds)
        self.changed.append(self.postgres.load_limits(key.organization_id))

    @precondition(lambda self: self.changed)
    @rule(data=st.data(), again=st.booleans())
    def the_ledger_is_told(self, data: st.DataObject, again: bool) -> None:
        limits = self._take(data, self.changed)
        self.world.set_limits(limits)
        if again:
            self.changed.append(limits)


def test_the_library_does_what_the_model_says_while_limits_change(valkey_backend: Backend) -> None:
    class Machine(LimitsMachine):
        def __init__(self) -> None:
            super().__init__(partial(World, valkey_backend))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
