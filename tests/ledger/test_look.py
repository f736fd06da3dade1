"""What a look at an organization shows. The library and its model have to agree."""

from uuid import uuid4

import fakeredis
import pytest
import redis

from command.embedded import EmbeddedValkey
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.functions import LIBRARY
from meter.ledger.keys import partition_of, prefix_of
from meter.ledger.types import UNLIMITED, Coldness, Look, LookItem, OpenStatus, Rules, Standing
from meter.periods import around, month_of
from tests.ledger.machine import RULES, START
from tests.ledger.test_rules import ANN, BOB, NEIGHBOUR, Scene

ORG = ANN.organization_id


@pytest.fixture(params=["fakeredis", pytest.param("valkey", marks=pytest.mark.integration)])
def scene(request: pytest.FixtureRequest) -> Scene:
    name = "fake_backend" if request.param == "fakeredis" else "valkey_backend"
    return Scene(request.getfixturevalue(name))


def look(scene: Scene, *users: str, most: int = 100, organization: str = ORG) -> Look:
    (answer,) = scene.world.look(LookItem(organization, users, most))
    scene.world.assert_same_state()
    return answer


def listed(scene: Scene) -> list[str]:
    return [each.session_id for each in look(scene).live]


def test_nobody_is_known_at_first(scene: Scene) -> None:
    assert look(scene, "ann", "bob") == Look(0, (), (Coldness.ACCOUNT_COLD,) * 2)


def test_each_users_standing_is_their_own(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.pass_seconds(10)
    scene.count((0, 4))
    scene.count((0, 1), key=BOB)
    period = month_of(START)
    assert look(scene, "ann", "eve", "bob").standings == (
        Standing(period, 7, UNLIMITED, 5, UNLIMITED),
        Coldness.MEMBER_COLD,
        Standing(period, 7, UNLIMITED, 2, UNLIMITED),
    )


def test_sessions_are_listed_with_their_seconds_the_last_to_begin_first(scene: Scene) -> None:
    scene.start(ANN)
    scene.pass_seconds(3)
    scene.start(BOB)
    scene.count((0, 2))
    first, second = look(scene).live
    assert (first.session_id, first.user_id, first.origin, first.seconds) == (
        BOB.session_id,
        "bob",
        START + 3,
        0,
    )
    assert (second.session_id, second.kind, second.seconds) == (ANN.session_id, "recording", 3)


def test_no_more_are_listed_than_asked_for_and_all_are_counted(scene: Scene) -> None:
    scene.start(ANN, BOB)
    answer = look(scene, most=1)
    assert (answer.live_count, len(answer.live)) == (2, 1)
    assert look(scene, most=0).live == ()


def test_a_session_that_ends_is_listed_no_more(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.world.close(ANN, EndReason.STOPPED)
    assert listed(scene) == [BOB.session_id]


def test_a_lost_session_is_listed_again_once_it_is_resumed(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    scene.collect()
    assert listed(scene) == []
    assert scene.open() is OpenStatus.RESUMED
    assert listed(scene) == [ANN.session_id]


def test_an_emptied_ledger_lists_again_what_is_put_back(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.pass_seconds(5)
    scene.count((0, 4))
    scene.flush()
    scene.lose_all()
    assert listed(scene) == []
    scene.world.restore(scene.postgres.rows[ANN].stored(), "")
    assert listed(scene) == [ANN.session_id]
    scene.seed()
    assert set(listed(scene)) == {ANN.session_id, BOB.session_id}


def test_an_ended_session_that_is_put_back_is_not_listed(scene: Scene) -> None:
    scene.start()
    scene.world.close(ANN, EndReason.LOST)
    scene.flush()
    scene.lose_all()
    scene.world.restore(scene.postgres.rows[ANN].stored(), "")
    assert listed(scene) == []


def test_a_neighbour_in_the_partition_sees_nothing(scene: Scene) -> None:
    scene.start()
    assert look(scene, "ann", organization=NEIGHBOUR) == Look(0, (), (Coldness.ACCOUNT_COLD,))


def test_a_period_without_figures_is_cold(scene: Scene) -> None:
    scene.start()
    scene.world.set_clock(around(START)[-1].end)
    assert look(scene, "ann").standings == (Coldness.MEMBER_COLD,)


def test_a_session_of_an_older_revision_is_listed_by_the_sweep(scene: Scene) -> None:
    """It was opened before there was a list."""
    scene.start()
    scene.world.backend.redis.delete(f"{_home()}:o:{ORG}")
    scene.pass_seconds(RULES.lost_after_seconds)
    scene.world.backend.redis.zadd(f"{_home()}:live", {ANN.session_id: START - 1})
    scene.collect()
    assert listed(scene) == [ANN.session_id]


def _home() -> str:
    return prefix_of(partition_of(ORG))


@pytest.mark.integration
async def test_a_look_writes_nothing_and_works_where_nothing_may_be_written(
    valkey_server: EmbeddedValkey,
) -> None:
    ledger = Ledger.connect(valkey_server.url)
    organization = f"org-{uuid4()}"
    await ledger.look([LookItem(organization, ("ann",), 10)])
    with redis.Redis.from_url(valkey_server.url) as client:
        arguments = (organization, 10, "Änn")
        assert client.fcall_ro(f"{LIBRARY.prefix}look", 1, "mm:{00}", *arguments) == [
            0,
            [],
            [b"account_cold"],
        ]
    await ledger.aclose()


async def test_many_organizations_are_looked_at_in_order() -> None:
    ledger = Ledger(fakeredis.FakeAsyncRedis(), Rules())
    items = [LookItem(f"org-{number}", ("u",) * (number % 3)) for number in range(9)]
    answers = await ledger.look(items)
    assert [len(answer.standings) for answer in answers] == [0, 1, 2] * 3
    assert await ledger.look([]) == []
    await ledger.aclose()
