"""Drives a recorder's session by hand: no sockets, no loop, and a clock that tests move."""

import json
from dataclasses import replace
from uuid import UUID

import msgspec

from gateway.actions import Action, Authenticate, Close, End, Open, Queue, Send, SessionTimes
from gateway.identity import Identity
from gateway.session import RecorderSession
from meter.ledger.types import Counted, CountItem, Rules
from tests.gateway.set_ledger import EPOCH, SetLedger

SESSION_ID = str(UUID(int=1))
OWNER = 7
ALICE = Identity("alice", "acme", frozenset({"record", "usage"}), 3600.0)


class Driven:
    """A session, and the ledger that answers it when told to."""

    def __init__(
        self,
        *,
        rules: Rules | None = None,
        times: SessionTimes | None = None,
        ledger: SetLedger | None = None,
        owner: int = OWNER,
    ) -> None:
        self.now = 1000.0
        rules = rules or Rules()
        self.ledger = ledger or SetLedger(lambda: EPOCH + self.now - 1000.0, rules)
        self.ledger.warm.add("acme")
        self.session = RecorderSession(times or SessionTimes(), rules, owner, self.now)
        self.sent: list[dict[str, object]] = []
        self.closed: Close | None = None
        self.asked: list[Action] = []
        self.queued = 0

    # The client -------------------------------------------------------------------------------

    def say(self, **message: object) -> list[dict[str, object]]:
        """A frame comes; gives what is answered at once."""
        self.session.frame(json.dumps(message).encode())
        return self.perform()

    def hear(self, first: int, last: int | None = None) -> list[dict[str, object]]:
        """A heartbeat comes, `from` and `to` when there are two numbers."""
        if last is None:
            return self.say(type="heartbeat", second=first)
        return self.say(type="heartbeat", **{"from": first, "to": last})

    def start(self, identity: Identity = ALICE) -> list[dict[str, object]]:
        """Through to `started`."""
        self.say(type="start", token="t", session_id=SESSION_ID)
        self.authenticate(identity)
        return self.open()

    # The driver -------------------------------------------------------------------------------

    def authenticate(self, identity: Identity = ALICE) -> list[dict[str, object]]:
        """The token is good."""
        assert isinstance(self.asked.pop(), Authenticate)
        self.session.authenticated(identity, self.now)
        return self.perform()

    def open(self) -> list[dict[str, object]]:
        """The ledger opens the session."""
        action = self.asked.pop()
        assert isinstance(action, Open)
        self.session.opened(self.ledger.open_now(replace(action.request, create=True)), self.now)
        return self.perform()

    def count(self, reply: Counted | None = None) -> list[dict[str, object]]:
        """The ledger counts what was taken."""
        ranges = self.session.take()
        self.queued = 0
        return self.answer(reply or self.ledger.count_now(CountItem(self.session.key, ranges)))

    def answer(self, reply: Counted) -> list[dict[str, object]]:
        """The ledger answers what was taken before."""
        self.session.counted(reply, self.now, int(self.ledger.clock()))
        return self.perform()

    def end(self) -> list[dict[str, object]]:
        """The ledger ends the session, as the session asked."""
        action = self.asked.pop()
        assert isinstance(action, End)
        self.session.ended(self.ledger.close_now(self.session.key, action.reason))
        return self.perform()

    def tick(self, seconds: float = 0.0) -> list[dict[str, object]]:
        """Time passes, then a tick comes."""
        self.now += seconds
        self.session.tick(self.now)
        return self.perform()

    def perform(self) -> list[dict[str, object]]:
        """Empty the outbox; gives what is sent, and checks that nothing follows a close."""
        asked, self.session.outbox = self.session.outbox, []
        sent = []
        for action in asked:
            if isinstance(action, Send | Close):
                assert self.closed is None, f"{action} after {self.closed}"
            if isinstance(action, Send):
                sent.append(json.loads(msgspec.json.encode(action.message)))
            elif isinstance(action, Close):
                self.closed = action
            elif isinstance(action, Queue):
                self.queued += 1
            else:
                self.asked.append(action)
        self.sent += sent
        return sent

    @property
    def counted(self) -> set[int]:
        """What the ledger has of the session."""
        return self.ledger.entries[SESSION_ID].seconds

    @property
    def close_code(self) -> int | None:
        """With what the connection was closed."""
        return None if self.closed is None else int(self.closed.code)
