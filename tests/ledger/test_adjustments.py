"""Seconds that operators add or give back, in the live figures: told as levels, so that telling
them again changes nothing."""

import pytest

from meter.ledger.types import LookItem, Standing
from meter.periods import around
from tests.ledger.test_rules import ANN, BOB, Scene
from tests.ledger.world import Backend


@pytest.fixture
def scene(fake_backend: Backend) -> Scene:
    return Scene(fake_backend)


def adjust(scene: Scene, seconds: int, user_id: str | None = None, *, period: int = 1) -> None:
    start = around(scene.world.now)[period].start
    scene.postgres.adjust("org_1", user_id, start, seconds)
    scene.world.set_limits(scene.postgres.load_limits("org_1"))


def limited(scene: Scene, seconds: int) -> None:
    scene.postgres.set_limit("org_1", "", seconds)
    scene.start(ANN, BOB)
    scene.pass_seconds(60)


def test_what_is_added_is_used_at_once_and_leaves_less_room(scene: Scene) -> None:
    limited(scene, 20)
    scene.count((0, 9))
    adjust(scene, 6)
    answer = scene.count((0, 19))
    assert (answer.new, answer.over_limit) == (4, 6)
    assert answer.standing is not None
    assert answer.standing.used == 20


def test_what_is_given_back_lets_an_account_go_on(scene: Scene) -> None:
    limited(scene, 10)
    assert scene.count((0, 19)).new == 10
    adjust(scene, -3)
    answer = scene.count((0, 19))
    assert (answer.new, answer.standing and answer.standing.used) == (3, 10)


def test_a_members_adjustment_is_in_both_figures(scene: Scene) -> None:
    limited(scene, 20)
    adjust(scene, 5, "ann")
    ann, bob = scene.count().standing, scene.count(key=BOB).standing
    assert ann is not None
    assert bob is not None
    assert (ann.used, ann.member_used) == (5, 5)
    assert (bob.used, bob.member_used) == (5, 0)


def test_told_again_and_seeded_again_it_counts_once(scene: Scene) -> None:
    limited(scene, 20)
    adjust(scene, 5)
    scene.world.set_limits(scene.postgres.load_limits("org_1"))
    scene.seed()
    scene.lose_all()
    scene.seed()
    scene.seed("bob")
    (look,) = scene.world.look(LookItem("org_1", ("ann",)))
    (standing,) = look.standings
    assert isinstance(standing, Standing)
    assert standing.used == 5


def test_another_periods_adjustment_leaves_the_present_one_alone(scene: Scene) -> None:
    limited(scene, 20)
    adjust(scene, 5, period=0)
    standing = scene.count().standing
    assert standing is not None
    assert standing.used == 0


def test_one_that_is_taken_back_is_gone(scene: Scene) -> None:
    limited(scene, 20)
    adjust(scene, 5)
    adjust(scene, -5)
    standing = scene.count().standing
    assert standing is not None
    assert standing.used == 0
