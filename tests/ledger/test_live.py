"""Live sessions in pages, over all partitions. The library and its model have to agree."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.functions import LIBRARY
from meter.ledger.keys import PARTITIONS, partition_of, prefix_of
from meter.ledger.listing import (
    MAX_PAGE,
    PAUSED_AFTER_SECONDS,
    Entry,
    ListedSession,
    PageRequest,
    Position,
    Ranked,
    is_paused,
    merge,
    position,
    share_of,
)
from meter.ledger.live import LiveSessions
from meter.ledger.types import CountItem, OpenStatus, SessionKey, SessionState, StoredSession
from tests.ledger.machine import RULES, START
from tests.ledger.servers import Valkey, join
from tests.ledger.test_rules import ANN, BOB, NEIGHBOUR, Scene

ORG = ANN.organization_id
MANY = 20_000
MOST_BYTES = 150_000  # of all replies for one page


@pytest.fixture(params=["fakeredis", pytest.param("valkey", marks=pytest.mark.integration)])
def scene(request: pytest.FixtureRequest) -> Scene:
    name = "fake_backend" if request.param == "fakeredis" else "valkey_backend"
    return Scene(request.getfixturevalue(name))


def listed(
    scene: Scene, organization: str | None = None, limit: int = 100
) -> tuple[ListedSession, ...]:
    sessions = scene.world.page(PageRequest(organization, limit)).sessions
    scene.world.assert_same_state()
    return sessions


def ids(sessions: tuple[ListedSession, ...]) -> list[str]:
    return [each.session_id for each in sessions]


def census(scene: Scene, most: int = 10) -> dict[str, int]:
    return dict(scene.world.census(most).largest)


# What is listed


def test_nothing_is_live_at_first(scene: Scene) -> None:
    assert listed(scene) == ()
    assert census(scene) == {}


def test_a_session_is_listed_with_what_is_known_of_it(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(4)
    scene.count((0, 3))
    assert listed(scene, ORG) == listed(scene)
    assert listed(scene) == (
        ListedSession(ANN.session_id, ORG, "ann", "recording", START, 4, START + 4, False),
    )


def test_those_that_began_last_are_listed_first_and_counted_by_organization(scene: Scene) -> None:
    scene.start(ANN)
    scene.pass_seconds(3)
    scene.start(BOB)
    assert ids(listed(scene)) == [BOB.session_id, ANN.session_id]
    assert census(scene) == {ORG: 2}


def test_a_session_that_ends_is_gone_from_every_list(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.world.close(ANN, EndReason.ADMIN)
    assert (ids(listed(scene)), ids(listed(scene, ORG))) == ([BOB.session_id],) * 2
    assert census(scene) == {ORG: 1}
    scene.world.close(BOB, EndReason.STOPPED)
    assert (listed(scene), census(scene)) == ((), {})


def test_a_session_that_is_lost_resumed_or_put_back_comes_and_goes(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    scene.collect()
    assert listed(scene) == ()
    assert scene.open() is OpenStatus.RESUMED
    assert census(scene) == {ORG: 1}
    scene.flush()
    scene.lose_all()
    assert census(scene) == {}
    scene.world.restore(scene.postgres.rows[ANN].stored(), "")
    assert ids(listed(scene)) == [ANN.session_id]
    assert census(scene) == {ORG: 1}


def test_a_session_of_an_older_revision_is_listed_by_the_sweep(scene: Scene) -> None:
    """It was opened before there were these lists."""
    scene.start()
    home, server = prefix_of(partition_of(ORG)), scene.world.backend.redis
    server.delete(f"{home}:began", f"{home}:orgs")
    scene.pass_seconds(RULES.lost_after_seconds)
    server.zadd(f"{home}:live", {ANN.session_id: START - 1})
    scene.collect()
    assert ids(listed(scene)) == [ANN.session_id]
    assert census(scene) == {ORG: 1}


def test_an_organization_sees_nothing_of_a_neighbour_in_its_partition(scene: Scene) -> None:
    scene.start()
    assert listed(scene, NEIGHBOUR) == ()


@pytest.mark.parametrize(("silent", "paused"), [(5, False), (6, True)])
def test_a_session_without_new_seconds_is_paused(scene: Scene, silent: int, paused: bool) -> None:
    scene.start()
    scene.pass_seconds(10)
    scene.count((0, 10))
    scene.pass_seconds(silent)
    scene.world.count([CountItem(ANN, ())])  # a sign of life
    (session,) = listed(scene)
    assert (session.paused, session.seen) == (paused, START + 10 + silent)


def test_a_session_is_found_by_its_id_live_or_not(scene: Scene) -> None:
    scene.start(ANN, BOB)
    scene.world.close(BOB, EndReason.ADMIN)
    (live,) = scene.world.find_by_id(ANN.session_id)
    (ended,) = scene.world.find_by_id(BOB.session_id)
    assert (live.key, live.end_reason) == (ANN, None)
    assert (ended.key, ended.end_reason) == (BOB, "admin")
    assert scene.world.find_by_id("nobody's") == []


def test_a_lost_session_that_an_operator_stops_is_not_resumed(scene: Scene) -> None:
    scene.start()
    scene.pass_seconds(RULES.lost_after_seconds + 1)
    scene.collect()
    scene.flush()
    scene.world.close(ANN, EndReason.STOPPED)
    assert scene.session().end_reason == "lost"
    scene.world.close(ANN, EndReason.ADMIN)
    scene.world.assert_same_state()
    assert scene.open() is OpenStatus.ENDED
    scene.flush()
    assert scene.stored().end_reason == "admin"


# Pages


def many(scene: Scene, sessions: int, organizations: int = 7) -> list[SessionKey]:
    """Sessions of several organizations; several begin in the same second."""
    keys = []
    for number in range(sessions):
        key = SessionKey(f"many_{number % organizations}", f"{number * 37 % 101:02x}{number}")
        origin = START + number // 6
        state = SessionState(key, "user", "recording", origin, revision=1)
        scene.world.restore(StoredSession(state, ()), "")
        keys.append(key)
    return keys


def all_pages(scene: Scene, limit: int, organization: str | None = None) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = scene.world.page(PageRequest(organization, limit, after))
        assert len(page.sessions) <= limit
        found += ids(page.sessions)
        if page.next is None:
            return found
        after = page.next


def test_pages_hold_every_session_once_in_one_order_whatever_their_size(scene: Scene) -> None:
    keys = many(scene, 60)
    whole = all_pages(scene, 100)
    assert sorted(whole) == sorted(key.session_id for key in keys)
    for limit in (1, 7, 30, 59, 60):
        assert all_pages(scene, limit) == whole
    mine = [key.session_id for key in keys if key.organization_id == "many_3"]
    assert all_pages(scene, 2, "many_3") == [each for each in whole if each in mine]


def test_sessions_that_begin_and_end_meanwhile_move_nobody_to_another_page(scene: Scene) -> None:
    keys = many(scene, 40)
    before = all_pages(scene, 100)
    page = scene.world.page(PageRequest(None, 10))
    assert page.next is not None
    by_id = {key.session_id: key for key in keys}
    for gone in (
        before[3],
        before[9],
        before[12],
    ):  # the page's last one too, where the next begins
        scene.world.close(by_id[gone], EndReason.STOPPED)
    scene.pass_seconds(60)
    scene.start(ANN, BOB)
    after = scene.world.page(PageRequest(None, 10, page.next))
    assert ids(after.sessions) == [each for each in before[10:21] if each != before[12]]
    assert after.total == 39


# The whole size


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey with 20,000 live sessions: half of one organization, begun in the same seconds."""
    with Valkey(tmp_path_factory.mktemp("crowded")) as server, server.client() as client:
        names = [f"org-{number % 3000}" if number % 2 else "huge" for number in range(MANY)]
        pipeline = client.pipeline(transaction=False)
        for number, name in enumerate(names):
            prefix, session_id = prefix_of(partition_of(name)), str(uuid4())
            fields = {"o": name, "u": "u", "k": "recording", "g": START + number // 5000}
            fields |= {"c": 1, "h": 0, "t": START, "n": 0, "r": 1, "w": 1}
            pipeline.hset(f"{prefix}:s:{session_id}", mapping=fields)
            for index in ("began", f"o:{name}"):
                pipeline.zadd(f"{prefix}:{index}", {session_id: fields["g"]})
        for name, sessions in Counter(names).items():
            pipeline.zadd(f"{prefix_of(partition_of(name))}:orgs", {name: sessions})
        pipeline.execute()
        yield server


@pytest.fixture
async def live(crowded: Valkey) -> AsyncIterator[LiveSessions]:
    ledger = Ledger.connect(crowded.url)
    await ledger.prepare()
    yield LiveSessions(ledger)
    await ledger.aclose()


def work(server: Valkey) -> tuple[int, int]:
    """How many commands it has carried out, those within functions too, and the bytes it gave."""
    with server.client() as client:
        given = client.info("stats")["total_net_output_bytes"]
        stats = client.info("commandstats")
    calls = [each["calls"] for name, each in stats.items() if not name.startswith("cmdstat_info")]
    return sum(calls), given


@pytest.mark.integration
@pytest.mark.parametrize("organization", [None, "huge"])
async def test_a_page_of_twenty_thousand_sessions_costs_a_bounded_number_of_commands(
    crowded: Valkey, live: LiveSessions, organization: str | None
) -> None:
    await live.census()
    # Of each partition its size and its share, twice at most; a place is found by halving; and the
    # page's sessions.
    most_commands = PARTITIONS * 20 + 250 if organization is None else 150
    after = None
    for _ in range(8):  # in the middle of a second in which thousands began, too
        before = work(crowded)
        page = await live.page(PageRequest(organization, 100, after))
        commands, given = (now - then for now, then in zip(work(crowded), before, strict=True))
        assert page.total == (MANY if organization is None else MANY // 2)
        assert len(page.sessions) == 100
        assert commands < most_commands
        assert given < MOST_BYTES
        after = page.next


@pytest.mark.integration
async def test_a_census_of_thousands_of_organizations_costs_a_bounded_number_of_commands(
    crowded: Valkey, live: LiveSessions
) -> None:
    before = work(crowded)
    found = await live.census(100)
    commands, given = (now - then for now, then in zip(work(crowded), before, strict=True))
    assert commands < 4 * PARTITIONS + 20
    assert given < MOST_BYTES
    assert found.organizations == 1501
    assert list(found.largest.values()) == sorted(found.largest.values(), reverse=True)
    assert (len(found.largest), found.largest["huge"]) == (100, MANY // 2)


@pytest.mark.integration
async def test_the_largest_page_has_all_it_is_asked_for(live: LiveSessions) -> None:
    page = await live.page(PageRequest(None, MAX_PAGE))
    assert len({each.session_id for each in page.sessions}) == MAX_PAGE
    order = [(each.origin, each.session_id) for each in page.sessions]
    assert order == sorted(order, reverse=True)


@pytest.mark.integration
async def test_a_cluster_is_listed_and_searched_as_a_single_server_is(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("cluster")
    nodes = [Valkey(directory / str(number), cluster=True) for number in range(3)]
    try:
        for node in nodes:
            node.start()
        join(nodes)
        ledger = Ledger.connect(nodes[0].url)
        live = LiveSessions(ledger)
        keys = [SessionKey(f"org-{number % 20}", str(uuid4())) for number in range(60)]
        for number, key in enumerate(keys):
            state = SessionState(key, "u", "recording", START + number, revision=1)
            await ledger.restore_session(StoredSession(state, ()))
        page = await live.page(PageRequest(None, 40))
        rest = await live.page(PageRequest(None, 40, page.next))
        names = [each.session_id for each in page.sessions + rest.sessions]
        assert names == [key.session_id for key in reversed(keys)]
        assert (await live.census()).organizations == 20
        stopped = await live.stop(keys[7].session_id)
        assert stopped is not None
        assert (stopped.key, stopped.end_reason) == (keys[7], "admin")
        assert await live.stop(str(uuid4())) is None
        await ledger.aclose()
    finally:
        for node in nodes:
            node.kill()


@pytest.mark.integration
def test_reading_pages_works_where_nothing_may_be_written(
    crowded: Valkey, live: LiveSessions
) -> None:
    with redis.Redis.from_url(crowded.url) as client:
        for function, arguments in (
            ("rank", ("began", 3, START, "0")),
            ("peek", ("0",)),
            ("find", ("0",)),
        ):
            assert client.fcall_ro(LIBRARY.prefix + function, 1, prefix_of(0), *arguments)


# Merging


entries = st.lists(st.tuples(st.integers(0, 4), st.text("ab", max_size=3)), unique=True)


@given(partitions=st.lists(entries, min_size=1, max_size=5), most=st.integers(1, 12))
def test_what_is_merged_is_the_highest_of_all_once_nobody_has_to_be_asked_again(
    partitions: list[list[tuple[int, str]]], most: int
) -> None:
    whole: dict[int, list[Entry]] = {
        number: sorted(((score, name, number) for score, name in each), reverse=True)
        for number, each in enumerate(partitions)
    }
    share = max(min(2, most), 1)
    lists = {
        number: Ranked(share, len(each), tuple(each[:share])) for number, each in whole.items()
    }
    merged, short = merge(lists, most)
    for number in short:
        lists[number] = Ranked(most, len(whole[number]), tuple(whole[number][:most]))
    merged, short = merge(lists, most)
    assert short == []
    assert merged == sorted((one for each in whole.values() for one in each), reverse=True)[:most]


def test_partitions_are_asked_for_a_share_and_a_single_one_for_all() -> None:
    assert share_of(101, 1) == 101
    assert share_of(5, 64) == 5
    assert 64 * share_of(501, 64) < 3 * 501


def test_a_cursor_leads_back_to_its_place_and_others_are_refused() -> None:
    place = Position(1_800_000_000, str(uuid4()))
    assert position(place.cursor()) == place
    for cursor in ("", "1", f"-{place.cursor()}", place.cursor().upper() + "X", "1.\n" + "0" * 36):
        with pytest.raises(ValueError, match="next_cursor"):
            position(cursor)


def test_paused_is_counted_from_the_last_second_recorded() -> None:
    assert not is_paused(100, -1, 100)
    assert is_paused(100, -1, 100 + PAUSED_AFTER_SECONDS)
