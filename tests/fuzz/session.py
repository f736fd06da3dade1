"""A recorder's session under a fuzzer: frames, replies, failures, losses, ticks, in any order."""

from dataclasses import replace
from unittest.mock import patch

from gateway.actions import Authenticate, End, Open
from gateway.client import Phase
from gateway.identity import Identity, TokenRefused
from gateway.session import RecorderSession
from meter.ledger.types import Counted, CountItem, OpenRequest, Rules
from tests.fuzz.source import Source
from tests.gateway.driving import ALICE, SESSION_ID, Driven
from tests.gateway.memory_storage import MemoryStorage

# Short, so that a run of a few hundred bytes comes upon each of them.
RULES = Rules(max_session_seconds=400, late_seconds=300)
HORIZON = RULES.max_session_seconds + RULES.future_seconds
MAX_STEPS = 400

IDENTITIES = (
    ALICE,
    Identity("mallory", "acme", frozenset({"record"}), 60.0),
    Identity("alice", "acme", frozenset({"usage"}), 60.0),
    Identity("alice", "acme", frozenset({"record"}), 1.0),
)


def run(data: bytes) -> None:
    """One run. Raises when the session does, or grows, or says what can't be."""
    source = Source(data)
    with patch("gateway.tally.MAX_RANGES", source.choose((256, 1, 3))):
        Run(source).go()


class Run:
    """A session, its ledger, and what is under way between them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.driven = Driven(rules=RULES)
        self.driven.ledger.limit = source.choose((-1, -1, 0, 1, 60, 399))
        self.storage = MemoryStorage()
        self.taken: tuple[tuple[int, int], ...] | None = None
        self.reply: Counted | None = None
        self.told = 0

    @property
    def session(self) -> RecorderSession:
        return self.driven.session

    def go(self) -> None:
        steps = (
            *(self.frame,) * 4,
            self.raw_frame,
            self.tick,
            *(self.take, self.count, self.answer) * 2,
            self.fail,
            *(self.do_asked,) * 3,
            self.flush,
            self.lose,
            self.depart,
            self.inherit,
        )
        for _ in range(MAX_STEPS):
            if not self.source:
                break
            self.source.choose(steps)()
            self.driven.perform()
            self.check()

    # What may happen --------------------------------------------------------------------------

    def frame(self) -> None:
        self.session.frame(self.source.frame())

    def raw_frame(self) -> None:
        self.session.frame(self.source.some())

    def tick(self) -> None:
        self.driven.tick(self.source.byte() / 8)

    def take(self) -> None:
        if self.driven.queued and self.taken is None:
            self.driven.queued = 0
            self.taken = self.session.take()

    def count(self) -> None:
        if self.taken is not None and self.reply is None:
            self.reply = self.driven.ledger.count_now(CountItem(self.session.key, self.taken))
            if self.reply.standing is None and not self.reply.end_reason:
                self.reply = None  # cold or absent: the counter cures it, and counts again

    def answer(self) -> None:
        reply, self.reply = self.reply, None
        if reply is not None:
            self.taken = None
            moment = int(self.driven.ledger.clock())
            self.session.counted(reply, self.driven.now, moment)

    def fail(self) -> None:
        if self.taken is not None:
            self.taken = self.reply = None
            self.session.not_counted()
            self.driven.queued = 1

    def do_asked(self) -> None:
        if not self.driven.asked:
            return
        match self.driven.asked.pop(0):
            case Authenticate():
                if self.source.byte() % 4 == 0:
                    self.session.refused(TokenRefused("no", expired=bool(self.source.byte() % 2)))
                else:
                    self.session.authenticated(self.source.choose(IDENTITIES), self.driven.now)
            case Open(request):
                self._open(request)
            case End(reason):
                lost = self.source.byte() % 4 == 0
                ledger = self.driven.ledger
                self.session.ended(None if lost else ledger.close_now(self.session.key, reason))

    def _open(self, request: OpenRequest) -> None:
        if self.source.byte() % 8 == 0:
            self.session.unavailable()
            return
        opened = self.driven.ledger.open_now(replace(request, create=True))
        self.session.opened(opened, self.driven.now)

    def flush(self) -> None:
        self.driven.ledger.flush(self.storage)

    def lose(self) -> None:
        entry = self.driven.ledger.entries.get(SESSION_ID)
        if entry is not None:
            entry.seconds = set(self.storage.seconds(SESSION_ID))

    def depart(self) -> None:
        session = self.session
        self.source.choose(
            (
                session.superseded,
                session.too_slow,
                session.oversized_frame,
                session.binary_frame,
                session.look,
                lambda: session.drain(0),
                self._leave,
            )
        )()

    def _leave(self) -> None:
        self.session.disconnected()
        self.driven.perform()
        self.driven.closed = None

    def inherit(self) -> None:
        if self.session.state is not None and self.taken is None:
            other = Driven(rules=RULES, ledger=self.driven.ledger)
            other.session.tally.hear(self.source.byte(), 255)
            self.session.inherit(other.session.tally)

    # What has to hold -------------------------------------------------------------------------

    def check(self) -> None:
        session, tally = self.session, self.session.tally
        assert not session.outbox
        for seconds in (tally.pending, tally.undurable):
            assert len(seconds) <= HORIZON + 1
            assert not seconds or 0 <= seconds.lowest() <= seconds.highest() <= HORIZON
        opening = [each for each in self.driven.asked if isinstance(each, Open | End)]
        assert len(opening) <= 1
        if self.driven.closed is not None:
            assert session.phase is Phase.OVER
        for message in self.driven.sent[self.told :]:
            if message["type"] == "ack":
                counted, durable = message["counted_through"], message["durable_through"]
                assert isinstance(counted, int)
                assert isinstance(durable, int)
                assert -1 <= durable <= counted <= HORIZON
        self.told = len(self.driven.sent)
        limit = self.driven.ledger.limit
        assert limit < 0 or self.driven.ledger.used <= limit
