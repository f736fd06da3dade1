"""Two releases at once: each calls its own version of the functions, on the same data."""

import asyncio
import hashlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis.asyncio

from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.functions import LIBRARY, REVISION, VERSION, Library, version_of
from meter.ledger.keys import partition_of
from meter.ledger.types import (
    AccountFigures,
    CollectStatus,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    OpenRequest,
    OpenStatus,
    Rules,
    SessionKey,
    SessionState,
    Settlement,
    StoredSession,
)
from meter.periods import around
from persistence.functions import FunctionsKeeper
from tests.ledger.servers import Valkey, join

pytestmark = pytest.mark.integration

NEXT = LIBRARY.of_version(VERSION + 1)
Connect = Callable[[Library], Ledger]
ZEROS = (0, 0, 0)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, empty."""
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def connect(valkey: Valkey) -> AsyncIterator[Connect]:
    """Makes ledgers of any library, each as a process of that release has it."""
    made: list[Ledger] = []

    def make(library: Library) -> Ledger:
        made.append(Ledger(redis.asyncio.Redis(port=valkey.port), Rules(), library=library))
        return made[-1]

    yield make
    for ledger in made:
        await ledger.aclose()


async def session_of(ledger: Ledger) -> SessionKey:
    """A live session that began ten minutes ago, of an account that the ledger knows."""
    key = SessionKey("org", str(uuid4()))
    now = int(time.time())
    await ledger.seed_account(AccountFigures("org", "ann", around(now), ZEROS, ZEROS))
    state = SessionState(key, "ann", "recording", now - 600, revision=1)
    await ledger.restore_session(StoredSession(state, ()))
    return key


def revision_on(server: Valkey, library: Library) -> int | None:
    """Which revision of a library's version a server has."""
    with server.client() as client:
        if library.name not in names_on(server):
            return None
        return int(client.fcall(f"{library.prefix}revision", 0))


def names_on(server: Valkey) -> set[str]:
    """The libraries that a server has."""
    with server.client() as client:
        return {bytes(each[1]).decode() for each in client.function_list()}


def forget_functions(server: Valkey) -> None:
    with server.client() as client:
        client.function_flush()


# Two versions -------------------------------------------------------------------------------------


async def test_two_versions_count_the_same_session_and_their_union_is_exact(
    connect: Connect, valkey: Valkey
) -> None:
    old, new = connect(LIBRARY), connect(NEXT)
    key = await session_of(old)
    chance = random.Random(4)
    recorded: set[int] = set()
    newly_counted = 0
    for turn in range(40):
        sent = [(first, first + chance.randrange(20)) for first in chance.sample(range(580), 2)]
        recorded.update(*(range(first, last + 1) for first, last in sent))
        if turn % 10 == 5:
            forget_functions(valkey)
        pair = [old, new] if turn % 2 else [new, old]
        calls = [
            ledger.count([CountItem(key, (piece,))])
            for ledger, piece in zip(pair, sent, strict=True)
        ]
        answers = await asyncio.gather(*calls) if turn % 4 else [await call for call in calls]
        assert {answer.status for (answer,) in answers} == {CountStatus.COUNTED}
        newly_counted += sum(answer.new for (answer,) in answers)
    for ledger in (old, new):
        (answer,) = await ledger.count([CountItem(key, ())])
        assert answer.seconds == newly_counted == len(recorded)
    assert names_on(valkey) == {LIBRARY.name, NEXT.name}


async def test_what_one_version_began_another_resumes_makes_durable_and_ends(
    connect: Connect,
) -> None:
    old, new = connect(LIBRARY), connect(NEXT)
    key = await session_of(old)
    await old.count([CountItem(key, ((0, 99),))])
    resumed = await new.open(OpenRequest(key, "ann", "recording", 2))
    assert resumed.status is OpenStatus.RESUMED
    assert resumed.session is not None
    assert resumed.session.seconds == 100
    home = partition_of(key.organization_id)
    (collected,) = await new.collect([home], "new", 60, 10)
    assert collected.status is CollectStatus.MINE
    (refused,) = await old.collect([home], "old", 60, 10)
    assert refused.status is CollectStatus.LEASED
    (due,) = collected.due
    assert sum(minute.mask.bit_count() for minute in due.minutes) > 0
    await old.settle([Settlement(key, due.state.revision, due.minutes)])
    (answer,) = await new.count([CountItem(key, ((100, 100),))])
    assert (answer.new, answer.seconds) == (1, 101)
    ended = await old.close(key, EndReason.STOPPED)
    assert ended is not None
    assert ended.seconds == 101
    (answer,) = await new.count([CountItem(key, ((101, 101),))])
    assert answer.status is CountStatus.ENDED


async def test_a_version_with_other_replies_leaves_the_older_ones_replies_alone(
    connect: Connect,
) -> None:
    was = "register('muster', muster)"
    becomes = "register('muster', function(keys, args) return { 'other', args[1] } end)"
    assert LIBRARY.source.count(was) == 1
    old = connect(LIBRARY)
    new = connect(replace(NEXT, source=LIBRARY.source.replace(was, becomes)))
    assert await old.muster("first", 60) == ["first"]
    assert await new.muster("second", 60) == ["other", "second"]
    assert await old.muster("first", 60) == ["first"]


async def test_each_version_comes_back_alone_when_first_needed_after_an_empty_restart(
    connect: Connect, valkey: Valkey
) -> None:
    old, new = connect(LIBRARY), connect(NEXT)
    await asyncio.gather(old.ping(), new.ping())
    valkey.kill()
    valkey.start()
    await until_it_answers(new)
    assert names_on(valkey) == {NEXT.name}
    await until_it_answers(old)
    assert names_on(valkey) == {NEXT.name, LIBRARY.name}


async def until_it_answers(ledger: Ledger) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return await ledger.ping()
        except LedgerUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_all_primaries_of_a_cluster_have_both_versions(tmp_path: Path) -> None:
    with ExitStack() as stack:
        nodes = [Valkey(tmp_path / str(number), cluster=True) for number in range(3)]
        for node in nodes:
            stack.enter_context(node)
        join(nodes)
        ledgers = [
            Ledger(redis.asyncio.Redis(port=nodes[0].port), Rules(), library=library)
            for library in (LIBRARY, NEXT)
        ]
        keys = [SessionKey(f"org_{number}", "unknown") for number in range(100)]
        for ledger in ledgers:
            assert len(await ledger.count([CountItem(key, ((0, 1),)) for key in keys])) == 100
        forget_functions(nodes[1])
        for ledger in ledgers:
            assert len(await ledger.count([CountItem(key, ((0, 1),)) for key in keys])) == 100
        assert [names_on(node) for node in nodes] == [{LIBRARY.name, NEXT.name}] * 3
        with nodes[2].client() as client:
            client.function_load(LIBRARY.of_version(VERSION - 1).text)
        await ledgers[1].tend_library()
        assert [names_on(node) for node in nodes] == [{LIBRARY.name, NEXT.name}] * 3
        for ledger in ledgers:
            await ledger.aclose()


# Revisions of one version -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "after"), [(5, 7), (7, 7), (9, 9)], ids=["older", "same", "newer"]
)
async def test_an_older_revision_is_replaced_and_a_newer_one_kept(
    connect: Connect, valkey: Valkey, present: int, after: int
) -> None:
    await connect(LIBRARY.of_version(VERSION, present)).prepare()
    mine = LIBRARY.of_version(VERSION, 7)
    ledger = connect(mine)
    await ledger.prepare()
    await ledger.tend_library()
    assert revision_on(valkey, mine) == after


async def test_of_many_processes_that_load_at_once_the_newest_revision_stays(
    connect: Connect, valkey: Valkey
) -> None:
    ledgers = [connect(LIBRARY.of_version(VERSION, 5 + number % 2)) for number in range(12)]
    for _ in range(20):
        forget_functions(valkey)
        random.Random(4).shuffle(ledgers)
        await asyncio.gather(*(ledger.tend_library() for ledger in ledgers))
        assert revision_on(valkey, LIBRARY) == 6


async def test_a_newer_process_puts_its_revision_back_where_an_older_one_was_the_first(
    connect: Connect, valkey: Valkey
) -> None:
    older = connect(LIBRARY.of_version(VERSION, 5))
    newer = connect(LIBRARY.of_version(VERSION, 6))
    await newer.ping()
    forget_functions(valkey)
    await older.ping()
    assert revision_on(valkey, LIBRARY) == 5
    await newer.ping()  # `/readyz` asks this all the time
    await newer.ping()
    assert revision_on(valkey, LIBRARY) == 6
    await older.ping()
    await older.ping()
    assert revision_on(valkey, LIBRARY) == 6


# Old versions -------------------------------------------------------------------------------------


async def test_what_is_older_than_the_version_before_is_deleted(
    connect: Connect, valkey: Valkey
) -> None:
    libraries = [LIBRARY.of_version(version) for version in (3, 4, 5, 6)]
    ledgers = [connect(library) for library in libraries]
    for ledger in ledgers:
        await ledger.prepare()
    with valkey.client() as client:
        client.function_load(
            "#!lua name=minute_meter_videos\n"
            "redis.register_function('another', function() return 1 end)"
        )
    await ledgers[2].tend_library()
    kept = {"minute_meter_v4", "minute_meter_v5", "minute_meter_v6"}
    assert names_on(valkey) == {*kept, "minute_meter_videos"}
    await ledgers[0].ping()  # it was in use after all
    assert names_on(valkey) == {*kept, "minute_meter_v3", "minute_meter_videos"}


async def test_a_flusher_deletes_them_however_long_it_takes_the_ledger_to_answer(
    connect: Connect, valkey: Valkey
) -> None:
    old, new = connect(LIBRARY), connect(LIBRARY.of_version(VERSION + 2))
    await old.prepare()
    valkey.kill()
    stop = asyncio.Event()
    keeping = asyncio.create_task(FunctionsKeeper(new, interval_seconds=0.02).run(stop))
    await asyncio.sleep(0.1)
    valkey.start()
    await until_it_answers(old)
    deadline = time.monotonic() + 30
    while names_on(valkey) != {"minute_meter_v3"}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    stop.set()
    await keeping


def test_only_the_ledgers_own_libraries_are_taken_for_versions() -> None:
    assert version_of(LIBRARY.name) == VERSION
    assert [version_of(name) for name in ("minute_meter_v12", "minute_meter_v", "v3")] == [
        12,
        None,
        None,
    ]


def test_versions_have_no_name_in_common() -> None:
    for one, other in itertools.permutations((1, 2, 11), 2):
        assert not f"mm{one}_count".startswith(LIBRARY.of_version(other).prefix)


# The version, the revision, and what the text is. It is noted here, so that nobody changes the text
# and leaves both numbers: servers that have the former text would keep it.
NOTED = "1.13 22306135963acc6f"


def test_a_changed_text_has_another_revision() -> None:
    digest = hashlib.sha256(LIBRARY.source.encode()).hexdigest()[:16]
    now = f"{VERSION}.{REVISION} {digest}"
    raised = "raise REVISION in meter/ledger/functions.py (or VERSION, see docs/design.md), then"
    assert now == NOTED, f"the functions have changed: {raised} note the new text here"
