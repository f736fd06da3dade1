"""The function library and its reference model side by side: each call goes to both, and has to
give the same reply and leave the same state.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from redis import Redis

from meter.codes import EndReason
from meter.ledger import model_live
from meter.ledger.driver import Ledger
from meter.ledger.keys import PARTITIONS, partition_of, prefix_of
from meter.ledger.listing import Census, PageRequest, SessionPage
from meter.ledger.live import LiveSessions
from meter.ledger.model import Model
from meter.ledger.model_state import Figure, Session
from meter.ledger.types import (
    UNLIMITED,
    AccountFigures,
    AccountLimits,
    Collected,
    Counted,
    CountItem,
    Look,
    LookItem,
    Opened,
    OpenRequest,
    SessionKey,
    SessionState,
    Settlement,
    StoredSession,
)
from meter.ledger.whole import Recorded, WholeSession, record_whole
from tests.ledger.clock import CLOCK_KEY

Result = TypeVar("Result")

FOR_EVER_SECONDS = 10**9  # leases end when a test says so


@dataclass(frozen=True)
class Backend:
    """A server: the ledger's driver on it, a plain client to look behind it, and their loop."""

    ledger: Ledger
    redis: "Redis"
    loop: asyncio.AbstractEventLoop

    def run(self, call: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(call)


@dataclass(frozen=True)
class Snapshot:
    """What a replica has: the model's state, and the server's keys with their times to live."""

    model: Model
    keys: dict[bytes | str, tuple[bytes, int]]


class World:
    """A ledger, its model, and the clock of both."""

    def __init__(self, backend: Backend, now: int) -> None:
        self.backend = backend
        self.model = Model(backend.ledger.rules)
        self.now = now
        self._micros = 0
        self._flush()

    def set_clock(self, now: int) -> None:
        self.now = now

    def _moment(self) -> tuple[int, int]:
        """The next call's time: the clock's microseconds go on from call to call."""
        self._micros = (self._micros + 7) % 1_000_000
        moment = self.now, self._micros
        self.backend.redis.hset(CLOCK_KEY, mapping={"s": moment[0], "u": moment[1]})
        return moment

    # Calls

    def open(self, request: OpenRequest) -> Opened:
        expected = self.model.open(request, self._moment())
        assert self.backend.run(self.backend.ledger.open(request)) == expected
        return expected

    def count(self, items: Sequence[CountItem]) -> list[Counted]:
        before = self._used()
        expected = self.model.count(items, self._moment())
        assert self.backend.run(self.backend.ledger.count(items)) == expected
        self._assert_within_limits(before)
        return expected

    def give_back(self, item: CountItem) -> Counted:
        before = self._used()
        expected = self.model.give_back(item, self._moment())
        assert self.backend.run(self.backend.ledger.give_back(item)) == expected
        self._assert_within_limits(before)
        return expected

    def record(self, whole: WholeSession) -> Recorded:
        before = self._used()
        expected = self.model.record(whole, self._moment())
        assert self.backend.run(record_whole(self.backend.ledger, whole)) == expected
        self._assert_within_limits(before)
        return expected

    def look(self, *items: LookItem) -> list[Look]:
        expected = self.model.look(items, self._moment())
        assert self.backend.run(self.backend.ledger.look(items)) == expected
        return expected

    def page(self, request: PageRequest) -> SessionPage:
        expected = model_live.page(self.model.sessions.values(), request, self._moment()[0])
        assert self.backend.run(LiveSessions(self.backend.ledger).page(request)) == expected
        return expected

    def census(self, most: int) -> Census:
        expected = model_live.census(self.model.sessions.values(), most)
        found = self.backend.run(LiveSessions(self.backend.ledger).census(most))
        assert found == expected
        assert list(found.largest) == list(expected.largest)
        return expected

    def find_by_id(self, session_id: str) -> list[SessionState]:
        found = self.backend.run(LiveSessions(self.backend.ledger).find(session_id))
        expected = [
            each.state() for (_, name), each in self.model.sessions.items() if name == session_id
        ]
        assert _by_organization(found) == _by_organization(expected)
        return expected

    def close(self, key: SessionKey, reason: EndReason, at_least: int = 0) -> None:
        expected = self.model.close(key, reason, self._moment(), at_least)
        assert self.backend.run(self.backend.ledger.close(key, reason, at_least)) == expected

    def note_told(self, key: SessionKey, told: str) -> None:
        self.model.note_told(key, told)
        self.backend.run(self.backend.ledger.note_told([(key, told)]))

    def seed(self, figures: AccountFigures) -> None:
        expected = self.model.seed_account(figures, self._moment())
        assert self.backend.run(self.backend.ledger.seed_account(figures)) == expected

    def set_limits(self, limits: AccountLimits) -> None:
        self.model.set_limits(limits, self._moment())
        self.backend.run(self.backend.ledger.set_limits([limits]))

    def restore(self, stored: StoredSession, metadata: str) -> None:
        expected = self.model.restore_session(stored, metadata, self._moment())
        assert self.backend.run(self.backend.ledger.restore_session(stored, metadata)) == expected

    def collect(
        self, partition: int, flusher_id: str, limit: int, ahead: int | None = None
    ) -> Collected:
        """`ahead`: by how much the flusher's clock is."""
        own_time = None if ahead is None else self.now + ahead
        expected = self.model.collect(partition, flusher_id, limit, self._moment(), own_time)
        call = self.backend.ledger.collect(
            [partition], flusher_id, FOR_EVER_SECONDS, limit, own_time
        )
        assert self.backend.run(call) == [expected]
        return expected

    def settle(self, settlements: Sequence[Settlement]) -> None:
        # The driver groups by partition; the model goes through them in that order too.
        moment = self._moment()
        self.model.settle(settlements, moment)
        self.backend.run(self.backend.ledger.settle(settlements))

    def set_aside(self, key: SessionKey, error: str) -> None:
        self.model.set_aside(key, error, self._moment())
        self.backend.run(self.backend.ledger.set_aside(key, error))

    def release(self, partition: int, flusher_id: str) -> None:
        self.model.release(partition, flusher_id)
        self.backend.run(self.backend.ledger.release([partition], flusher_id))

    def assert_same_backlog(self) -> None:
        expected = self.model.backlog(self._moment())
        assert self.backend.run(self.backend.ledger.backlog()) == expected

    # Times to live, which are the server's own

    def lease_runs_out(self, partition: int) -> None:
        self.model.leases.pop(partition, None)
        self.backend.redis.delete(f"{prefix_of(partition)}:lease")

    def forget(self, session: Session) -> None:
        """An ended session's time to live runs out."""
        assert session.expiring
        home = partition_of(session.key.organization_id)
        del self.model.sessions[home, session.key.session_id]
        prefix, name = prefix_of(home), session.key.session_id
        self.backend.redis.delete(*(f"{prefix}:{part}:{name}" for part in "sbx"))

    # Faults

    def snapshot(self) -> Snapshot:
        redis = self.backend.redis
        keys = {}
        for name in redis.keys("mm:{*"):
            value = redis.dump(name)
            assert value is not None
            keys[name] = value, max(redis.pttl(name), 0)
        return Snapshot(deepcopy(self.model), keys)

    def fail_over_to(self, replica: Snapshot) -> None:
        """The writes since that snapshot are lost."""
        self._flush()
        self.model = deepcopy(replica.model)
        for name, (value, ttl) in replica.keys.items():
            self.backend.redis.restore(name, ttl, value)

    def lose_all_keys(self) -> None:
        self._flush()
        self.model = Model(self.model.rules)

    def _flush(self) -> None:
        self.backend.redis.flushdb()

    # Comparing

    def _figures(self) -> dict[tuple[str, int, str], Figure]:
        """All of them, by organization, period's start and member (empty: the organization's)."""
        figures = {}
        for organization_id, account in self.model.accounts.items():
            for start, figure in account.used.items():
                figures[organization_id, start, ""] = figure
            for (start, user_id), figure in account.member_used.items():
                figures[organization_id, start, user_id] = figure
        return figures

    def _used(self) -> dict[tuple[str, int, str], int]:
        return {name: figure.used for name, figure in self._figures().items()}

    def _assert_within_limits(self, before: dict[tuple[str, int, str], int]) -> None:
        for name, used in self._used().items():
            if used > before[name]:
                account = self.model.accounts[name[0]]
                cap = account.member_limits[name[2]] if name[2] else account.cap
                if account.terms.grace_is_overage:
                    longest = account.terms.grace(0) * len(self.model.sessions)
                    assert cap == UNLIMITED or used <= max(cap, before[name]) + longest
                else:
                    assert cap == UNLIMITED or used <= cap

    def assert_same_state(self) -> None:
        """The server's keys say what the model says."""
        self._assert_same_figures()
        self._assert_same_live_sessions()
        sessions = self.model.sessions
        pipeline = self.backend.redis.pipeline(transaction=False)
        for partition, name in sessions:
            prefix = prefix_of(partition)
            pipeline.hgetall(f"{prefix}:s:{name}")
            pipeline.get(f"{prefix}:b:{name}")
            pipeline.zscore(f"{prefix}:due", name)
            pipeline.hget(f"{prefix}:aside", name)
            pipeline.ttl(f"{prefix}:s:{name}")
            pipeline.ttl(f"{prefix}:b:{name}")
        pipeline.keys("mm:{*:s:*")
        *values, names = pipeline.execute()
        for index, session in enumerate(sessions.values()):
            _assert_same_session(session, *values[6 * index : 6 * index + 6])
        assert {name.decode() for name in names} == {
            f"{prefix_of(partition)}:s:{name}" for partition, name in sessions
        }

    def _assert_same_figures(self) -> None:
        expected = self._figures()
        pipeline = self.backend.redis.pipeline(transaction=False)
        for organization_id, start, user_id in expected:
            name = f"{prefix_of(partition_of(organization_id))}:u:{start}:{organization_id}"
            pipeline.hmget(name, *((f"m|{user_id}", f"a|{user_id}") if user_id else ("o", "a")))
        assert [[int(value or 0) for value in values] for values in pipeline.execute()] == [
            [figure.size, figure.adjusted] for figure in expected.values()
        ]

    def _assert_same_live_sessions(self) -> None:
        organizations = {
            each.key.organization_id
            for each in self.model.sessions.values()
            if each.ended_at is None
        }
        expected = {
            f"{prefix_of(partition_of(organization_id))}:o:{organization_id}".encode(): [
                (each.session_id.encode(), float(each.origin))
                for each in self.model.live_sessions(organization_id)
            ]
            for organization_id in organizations
        }
        names = sorted(expected)
        pipeline = self.backend.redis.pipeline(transaction=False)
        pipeline.keys("mm:{*:o:*")
        for name in names:
            pipeline.zrevrange(name, 0, -1, withscores=True)
        found, *values = pipeline.execute()
        assert sorted(found) == names
        assert values == [expected[name] for name in names]
        self._assert_same_indexes(expected)

    def _assert_same_indexes(self, live: dict[bytes, list[tuple[bytes, float]]]) -> None:
        """What is derived of the organizations' lists, over all partitions."""
        pipeline = self.backend.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            for index in ("began", "orgs"):
                pipeline.zrange(f"{prefix_of(partition)}:{index}", 0, -1, withscores=True)
        values = pipeline.execute()
        assert sorted(chain(*values[::2])) == sorted(chain(*live.values()))
        assert sorted(chain(*values[1::2])) == sorted(
            (key.split(b":o:", 1)[1], len(entries)) for key, entries in live.items()
        )


def _by_organization(states: Iterable[SessionState]) -> list[SessionState]:
    return sorted(states, key=lambda state: state.key.organization_id)


def _assert_same_session(
    session: Session,
    fields: dict[bytes, bytes],
    bits: bytes | None,
    due: float | None,
    aside: bytes | None,
    seconds_to_live: int,
    bits_seconds_to_live: int,
) -> None:
    assert _ones(bits) == session.counted
    first_minute = session.minute_of(0)
    assert {first_minute + bit for bit in _ones(fields.get(b"d"))} == session.pending
    assert int(fields[b"c"]) == len(session.counted)
    assert int(fields[b"t"]) == session.seen
    assert (int(fields[b"r"]), int(fields[b"w"])) == (session.revision, session.durable)
    assert due == session.due
    assert (aside and aside.decode()) == session.refused
    assert (seconds_to_live > 0) == session.expiring
    if session.counted:
        assert (bits_seconds_to_live > 0) == session.expiring


def _ones(bitmap: bytes | None) -> set[int]:
    """The bits that are set, a byte's highest being its first."""
    return {
        index * 8 + bit
        for index, byte in enumerate(bitmap or b"")
        for bit in range(8)
        if byte >> (7 - bit) & 1
    }
