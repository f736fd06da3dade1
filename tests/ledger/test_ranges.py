"""Ranges of any shape over bitmaps of any shape: each call is compared with the reference model.
And what a client costs the server that sends a day of seconds again and again."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.ledger.driver import Ledger
from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    CountItem,
    SessionKey,
    SessionState,
    StoredSession,
)
from meter.periods import month_of, month_start
from meter.terms import Terms
from tests.ledger.machine import START
from tests.ledger.servers import Valkey
from tests.ledger.test_rules import ANN, Scene
from tests.ledger.world import Backend

pytestmark = pytest.mark.integration

AGE = 140
DAY = 86_400

ranges = st.lists(
    st.tuples(st.integers(0, AGE), st.integers(0, 3) | st.integers(0, AGE)).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], AGE))
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    calls=st.lists(ranges, min_size=1, max_size=5),
    limit=st.just(UNLIMITED) | st.integers(0, AGE),
    grace=st.sampled_from([None, 0, 1, 7, 8, 9, 60, AGE]),
    before_month_end=st.booleans(),
)
def test_any_ranges_count_what_the_model_counts(
    valkey_backend: Backend,
    calls: list[list[tuple[int, int]]],
    limit: int,
    grace: int | None,
    before_month_end: bool,
) -> None:
    scene = Scene(valkey_backend)
    if before_month_end:  # the ranges are split there
        scene.world.set_clock(month_start(2100, 3) - 50)
    else:
        assert scene.world.now == START
    scene.start()
    scene.pass_seconds(AGE)
    if grace is not None:
        terms = Terms(grace_seconds=grace, grace_is_overage=True)
        scene.postgres.set_terms("org_1", terms)
    scene.postgres.set_limit("org_1", "", limit)
    scene.world.set_limits(scene.postgres.load_limits("org_1"))
    scene.seed("ann")
    for each in calls:
        scene.count(*each)  # the reply and the sets have to be the model's
    scene.count((0, AGE))


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


@pytest.mark.parametrize("limit", [UNLIMITED, 1000])
async def test_a_day_of_seconds_sent_again_and_again_costs_the_server_next_to_nothing(
    valkey: Valkey, limit: int
) -> None:
    ledger = Ledger.connect(valkey.url)
    await ledger.prepare()
    now = int(time.time())
    month = month_of(now)
    periods = (month_of(month.start - 1), month)
    await ledger.seed_account(
        AccountFigures("org_1", "ann", periods, (0, 0), (0, 0), organization_limit=limit)
    )
    key = SessionKey("org_1", ANN.session_id)
    state = SessionState(key, "ann", "recording", now - DAY + 60, revision=1)
    await ledger.restore_session(StoredSession(state, ()))
    item = CountItem(key, ((0, DAY),))
    first = (await ledger.count([item]))[0]
    assert first.new == (limit if limit > 0 else first.seconds)
    assert first.seconds > 80_000 or limit > 0
    with valkey.client() as client:
        before = _function_us(client.info("commandstats"))
        for _ in range(50):
            await ledger.count([item])
        spent = _function_us(client.info("commandstats")) - before
    await ledger.aclose()
    assert spent / 50 < 1000  # it was 10,000 and more when each second was looked at


def _function_us(stats: object) -> int:
    assert isinstance(stats, dict)
    return int(stats["cmdstat_fcall"]["usec"])
