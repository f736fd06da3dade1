"""Periods that turn at another time than before reach hot accounts, and nothing used is lost."""

from dataclasses import replace

import pytest

from meter.ledger.types import AccountLimits, CountStatus, LookItem, Standing
from meter.periods import BillingCycle, Period, around, periods_around
from tests.ledger.test_rules import ANN, BOB, Scene
from tests.ledger.world import Backend

pytestmark = pytest.mark.integration

HOUR = 3600


@pytest.fixture
def scene(valkey_backend: Backend) -> Scene:
    return Scene(valkey_backend)


def told(scene: Scene, *periods: Period) -> AccountLimits:
    """What a flusher tells of the account with these periods."""
    return replace(scene.postgres.load_limits("org_1"), periods=periods)


def test_a_longer_next_period_leaves_the_present_one_alone(scene: Scene) -> None:
    scene.start(ANN)
    scene.pass_seconds(30)
    scene.count((0, 9))
    before, present, after = around(scene.world.now)
    scene.world.set_limits(told(scene, before, present, Period(after.start, after.end + HOUR)))
    standing = scene.count((10, 11)).standing
    assert standing is not None
    assert (standing.period, standing.used, standing.member_used) == (present, 12, 12)
    scene.world.set_clock(after.end + HOUR - 1)
    (looked,) = scene.world.look(LookItem("org_1", ("ann",)))
    (later,) = looked.standings
    assert isinstance(later, Standing)
    assert (later.period.end, later.used) == (after.end + HOUR, 0)
    scene.world.assert_same_state()


def test_no_periods_told_are_those_it_has(scene: Scene) -> None:
    scene.start(ANN)
    scene.pass_seconds(30)
    scene.world.set_limits(told(scene))
    standing = scene.count((0, 9)).standing
    assert standing is not None
    assert standing.period == around(scene.world.now)[1]


@pytest.mark.parametrize("by_seed", [False, True])
def test_what_an_account_counted_before_postgres_had_anything_is_in_its_first_period(
    scene: Scene, by_seed: bool
) -> None:
    """The cycle was changed in a session's first seconds, and holds from the beginning."""
    scene.start(ANN, BOB)
    scene.pass_seconds(30)
    scene.count((0, 9))
    scene.count((0, 4), key=BOB)
    periods = periods_around(BillingCycle("Pacific/Auckland"), scene.world.now)
    if by_seed:
        account = scene.postgres.load_account("org_1", "ann", periods)
        scene.world.seed(replace(account, live=None))
    else:
        scene.world.set_limits(told(scene, *periods))
    standing = scene.count((10, 10)).standing
    assert standing is not None
    assert (standing.period, standing.used, standing.member_used) == (periods[1], 16, 11)
    scene.world.assert_same_state()
    # And back again: what was counted meanwhile comes along.
    scene.world.set_limits(told(scene, *around(scene.world.now)))
    standing = scene.count(key=BOB).standing
    assert standing is not None
    assert (standing.period.start, standing.used, standing.member_used) == (
        around(scene.world.now)[1].start,
        16,
        5,
    )
    assert scene.count((11, 11)).status is CountStatus.COUNTED
    scene.world.assert_same_state()
