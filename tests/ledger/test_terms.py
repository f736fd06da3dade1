"""What plans say beyond limits, as the ledger holds sessions to it: overage, graces that count,
most sessions at once, the longest session. Each call is compared with the reference model, too."""

import pytest

from meter.codes import EndReason
from meter.ledger.types import UNLIMITED, OpenStatus
from meter.terms import DEFAULT_TERMS, Terms
from tests.ledger.test_rules import ANN, BOB, Scene
from tests.ledger.world import Backend


@pytest.fixture
def scene(fake_backend: Backend) -> Scene:
    return Scene(fake_backend)


def plan(scene: Scene, terms: Terms, limit: int = UNLIMITED, organization: str = "org_1") -> None:
    """The organization gets a plan, and the ledger is told."""
    scene.postgres.set_limit(organization, "", limit)
    scene.postgres.set_terms(organization, terms)
    scene.world.set_limits(scene.postgres.load_limits(organization))


def test_overage_counts_up_to_its_ceiling_and_never_past_it(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.pass_seconds(60)
    plan(scene, Terms(overage_seconds=5), limit=10)
    assert scene.count((0, 7)).new == 8
    assert scene.count((0, 7), key=BOB).new == 7
    answer = scene.count((8, 8))
    assert (answer.new, answer.over_limit) == (0, 1)
    assert answer.standing is not None
    assert (answer.standing.used, answer.standing.limit) == (15, 10)


def test_without_a_ceiling_a_soft_cap_refuses_nothing(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(60)
    plan(scene, Terms(overage_seconds=UNLIMITED), limit=0)
    assert scene.count((0, 49)).new == 50


def test_overage_never_passes_a_members_own_limit(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(60)
    scene.postgres.set_limit("org_1", "ann", 12)
    plan(scene, Terms(overage_seconds=UNLIMITED), limit=10)
    answer = scene.count((0, 19))
    assert (answer.new, answer.over_limit) == (12, 8)


def test_a_grace_that_counts_is_the_seconds_after_the_first_without_room(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.pass_seconds(60)
    plan(scene, Terms(grace_seconds=3, grace_is_overage=True), limit=10)
    assert scene.count((0, 19)).new == 13
    assert scene.count((13, 19)).new == 0
    # Each session has a grace of its own, from where it was stopped.
    assert [scene.count((n, n), key=BOB).new for n in (5, 6, 7, 8, 9)] == [1, 1, 1, 0, 0]
    assert scene.count((4, 4), key=BOB).new == 0  # before it


def test_a_grace_counts_nothing_unless_the_plan_says_so(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(60)
    plan(scene, Terms(grace_seconds=30), limit=10)
    assert scene.count((0, 19)).new == 10


def test_no_more_sessions_start_at_once_than_the_plan_allows(scene: Scene) -> None:
    scene.start(ANN)
    scene.seed("bob")
    plan(scene, Terms(most_sessions=1))
    assert scene.open(BOB) is OpenStatus.TOO_MANY_SESSIONS
    assert scene.open(ANN) is OpenStatus.RESUMED  # it is one of them
    scene.world.close(ANN, EndReason.STOPPED)
    assert scene.open(BOB) is OpenStatus.CREATED


def test_a_lost_session_returns_only_while_there_is_a_place(scene: Scene) -> None:
    scene.start(ANN)
    scene.seed("bob")
    plan(scene, Terms(most_sessions=1))
    scene.world.close(ANN, EndReason.LOST)
    scene.open(BOB)
    assert scene.open(ANN) is OpenStatus.TOO_MANY_SESSIONS


def test_sessions_that_are_live_stay_when_fewer_are_allowed(scene: Scene) -> None:
    scene.start(ANN, BOB)
    plan(scene, Terms(most_sessions=1))
    scene.pass_seconds(1)
    assert scene.count((0, 0), key=BOB).new == 1


def test_a_session_counts_no_second_past_the_longest_of_its_plan(scene: Scene) -> None:
    scene.start()
    plan(scene, Terms(longest_seconds=20))
    scene.pass_seconds(60)
    answer = scene.count((15, 25))
    assert (answer.new, answer.over_duration) == (5, 6)


def test_a_plan_never_lengthens_what_holds_for_all(scene: Scene) -> None:
    scene.start()
    plan(scene, Terms(longest_seconds=86_400))
    scene.pass_seconds(460)
    longest = scene.world.model.rules.max_session_seconds
    assert scene.count((longest - 2, longest + 1)).new == 2


def test_a_plan_that_is_gone_leaves_the_defaults(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(60)
    plan(scene, Terms(overage_seconds=UNLIMITED, most_sessions=1), limit=5)
    plan(scene, DEFAULT_TERMS, limit=5)
    answer = scene.count((0, 9))
    assert answer.new == 5
    assert answer.standing is not None
    assert answer.standing.terms == DEFAULT_TERMS
