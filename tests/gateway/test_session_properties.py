"""Whatever comes in whatever order: every admissible second that was heard is counted, once."""

import json
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.actions import Authenticate, Close, End, Open
from gateway.client import MAX_BAD_FRAMES, Phase
from meter.ledger.types import Counted, CountItem, CountStatus
from tests.gateway.driving import SESSION_ID, Driven
from tests.gateway.memory_storage import MemoryStorage

SECONDS = st.one_of(st.integers(-3, 400), st.integers(-(2**60), 2**60))
FRAMES = st.one_of(
    st.binary(max_size=30),
    st.text(max_size=30).map(str.encode),
    st.sampled_from(
        [b'{"type":"start","token":"t","session_id":"x"}', b'{"type":"heartbeat"}', b"{}"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "second", "from", "to", "token"]), inner)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


class SessionMachine(RuleBasedStateMachine):
    """One session against a ledger of sets; replies, failures, losses and ticks in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.driven = Driven()
        self.storage = MemoryStorage()
        self.heard: set[int] = set()
        self.sent: set[int] = set()
        self.inflight: tuple[tuple[int, int], ...] | None = None
        self.reply: Counted | None = None
        self.lossless = True
        self.lost_since_reply = False

    @property
    def session_is_live(self) -> bool:
        return self.driven.session.phase in (Phase.LIVE, Phase.STOPPING)

    @initialize(
        limit=st.one_of(st.just(-1), st.integers(1, 300)), most_ranges=st.sampled_from((1, 2, 256))
    )
    def start(self, limit: int, most_ranges: int) -> None:
        self.patched = patch("gateway.tally.MAX_RANGES", most_ranges)
        self.patched.start()
        self.driven.start()
        self.driven.ledger.limit = limit
        self.driven.ledger.flush(self.storage)

    @rule(first=SECONDS, length=st.integers(0, 40))
    def heartbeat(self, first: int, length: int) -> None:
        if self.session_is_live:
            horizon = int(self.driven.now - 1000.0) + 2
            for second in range(max(first, 0), min(first + length, 86_402) + 1):
                # What the clock does not allow yet may be allowed by the time it is counted.
                self.sent.add(second)
                if second <= horizon:
                    self.heard.add(second)
        if abs(first) <= 2**53 and abs(first + length) <= 2**53:
            self.driven.hear(first, first + length)

    @rule(frame=FRAMES)
    def frame(self, frame: bytes) -> None:
        if self.driven.session._bad_frames < MAX_BAD_FRAMES - 2:
            self.driven.session.frame(frame)
            self.driven.perform()

    @rule(seconds=st.floats(0, 40))
    def tick(self, seconds: float) -> None:
        self.driven.tick(seconds)

    @precondition(lambda self: self.driven.queued and self.inflight is None)
    @rule()
    def take(self) -> None:
        self.driven.queued = 0
        self.inflight = self.driven.session.take()

    @precondition(lambda self: self.inflight is not None and self.reply is None)
    @rule()
    def ledger_counts(self) -> None:
        assert self.inflight is not None
        self.reply = self.driven.ledger.count_now(CountItem(self.driven.session.key, self.inflight))

    @precondition(lambda self: self.reply is not None)
    @rule()
    def answer(self) -> None:
        reply, self.reply, self.inflight = self.reply, None, None
        assert reply is not None
        self.watch(self.driven.answer(reply))
        self.lost_since_reply = False

    @precondition(lambda self: self.inflight is not None)
    @rule()
    def fail(self) -> None:
        """Whether it was counted or not, no answer came."""
        self.inflight = self.reply = None
        self.driven.session.not_counted()
        self.driven.queued = 1

    @rule()
    def flush(self) -> None:
        self.driven.ledger.flush(self.storage)

    @precondition(lambda self: self.driven.ledger.entries[SESSION_ID].state.ended_at is None)
    @rule()
    def lose(self) -> None:
        """The ledger is back with no more than what Postgres has."""
        entry = self.driven.ledger.entries[SESSION_ID]
        entry.seconds = set(self.storage.seconds(SESSION_ID))
        self.lossless = False
        self.lost_since_reply = self.reply is not None
        if any(isinstance(each, End) for each in self.driven.asked):
            self.end(lost=True)

    @rule()
    def stop(self) -> None:
        self.driven.say(type="stop")

    @rule()
    def drain(self) -> None:
        self.driven.session.drain(0)
        self.driven.perform()

    @rule()
    def leave(self) -> None:
        self.driven.session.disconnected()
        self.driven.closed = None
        self.driven.perform()

    @precondition(lambda self: any(isinstance(each, End) for each in self.driven.asked))
    @rule(lost=st.booleans())
    def end(self, lost: bool) -> None:
        """Its answer, or none: the ledger was away, or had lost the session."""
        if lost:
            self.driven.asked.clear()
            self.driven.session.ended(None)
            self.driven.perform()
        else:
            self.driven.end()

    def watch(self, sent: list[dict[str, Any]]) -> None:
        """An ack never tells of more than was heard and the clock allows."""
        for message in sent:
            if message["type"] == "ack":
                counted, durable = message["counted_through"], message["durable_through"]
                assert -1 <= durable <= counted <= max(self.sent, default=-1)
                missing = set(range(counted + 1)) & self.heard - self.driven.counted
                assert not missing or self.driven.ledger.limit >= 0 or self.lost_since_reply

    @invariant()
    def the_limit_holds(self) -> None:
        limit = self.driven.ledger.limit
        assert limit < 0 or len(self.driven.counted) <= limit

    @invariant()
    def nothing_is_left_in_the_outbox(self) -> None:
        assert len(self.driven.session.outbox) <= 2
        assert sum(isinstance(each, Open | End | Authenticate) for each in self.driven.asked) <= 1
        assert not isinstance(self.driven.closed, Close) or self.driven.session.phase is Phase.OVER

    def teardown(self) -> None:
        """Let all settle: then all that was heard and is admissible is in the ledger."""
        self.patched.stop()  # all at once from here on
        driven, session = self.driven, self.driven.session
        if session.state is None:
            return
        if self.inflight is not None:
            self.fail()
        if any(isinstance(each, End) for each in driven.asked):
            self.end(lost=True)
        for _ in range(6):
            if any(isinstance(each, End) for each in driven.asked):
                break
            reply = driven.ledger.count_now(CountItem(session.key, session.take()))
            assert reply.status in (CountStatus.COUNTED, CountStatus.ENDED)
            driven.answer(reply)
        assert not session.tally.waiting or driven.ledger.limit >= 0
        if driven.ledger.limit < 0:
            assert self.heard <= driven.counted
        elif self.lossless:
            assert (
                len(driven.counted & self.heard) == min(len(self.heard), driven.ledger.limit)
                or len(driven.counted) == driven.ledger.limit
            )


SessionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSessions = SessionMachine.TestCase
