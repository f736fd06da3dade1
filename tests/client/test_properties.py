"""Whatever happens, a recorded second is held, or was said to be durable after it was sent.

A model server keeps what it has heard, counts and makes durable at its own pace, loses connections
with frames on their way in both directions, and sometimes loses its memory (but not its database).
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.client.harness import Bench


class HoldingMachine(RuleBasedStateMachine):
    """The client's core against the model server."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(automatic=False)
        self.recorded: set[int] = set()
        self.database: set[int] = set()
        self.memory: set[int] = set()
        self.on_the_way: list[range] = []
        self.heard_frames = 0
        self.replies: list[tuple[int, int]] = []  # acks on their way: durable through, frames
        self.connected = False

    @initialize()
    def connect_first(self) -> None:
        self.bench.server_ahead = 150
        self.connect()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.connected = True
        self.heard_frames = 0
        self.bench.start(resumed=True, durable_through=self.durable_through())
        self.collect()

    @rule(first=st.integers(0, 160), length=st.integers(1, 20))
    def record(self, first: int, length: int) -> None:
        latest = self.bench.core.second_under_way(self.bench.time)
        assert latest is not None
        last = min(first + length - 1, latest + 1)
        if first <= last:
            self.bench.core.heartbeat(first, last, self.bench.time)
            self.recorded.update(range(first, last + 1))
            self.collect()

    @rule(seconds=st.floats(0.1, 5))
    def wait(self, seconds: float) -> None:
        self.bench.now += seconds
        self.bench.say("sign_of_life")
        self.bench.tick()
        self.collect()

    @precondition(lambda self: self.on_the_way)
    @rule()
    def server_hears(self) -> None:
        self.memory.update(self.on_the_way.pop(0))
        self.heard_frames += 1

    @rule(through=st.integers(0, 160))
    def server_makes_durable(self, through: int) -> None:
        self.database |= {second for second in self.memory if second <= through}

    @precondition(lambda self: self.connected)
    @rule()
    def server_acks(self) -> None:
        self.replies.append((self.durable_through(), self.heard_frames))

    @precondition(lambda self: self.replies)
    @rule()
    def client_hears(self) -> None:
        durable, frames = self.replies.pop(0)
        self.bench.ack(durable, frames)

    @precondition(lambda self: self.connected)
    @rule(code=st.sampled_from([1006, 1001, 4000, 4004]))
    def connection_breaks(self, code: int) -> None:
        self.connected = False
        self.on_the_way.clear()
        self.replies.clear()
        self.bench.lose(code)

    @precondition(lambda self: not self.connected)
    @rule()
    def server_loses_its_memory(self) -> None:
        self.memory = set(self.database)

    @precondition(lambda self: self.connected and self.heard_frames == 0)
    @rule(code=st.sampled_from(["second_in_future", "second_too_late"]))
    def server_refuses(self, code: str) -> None:
        self.bench.say("error", code=code, message="refused", fatal=False)

    def durable_through(self) -> int:
        """As the ledger has it: before the first second that is heard and not durable."""
        waiting = self.memory - self.database
        return min(waiting) - 1 if waiting else max(self.memory, default=-1)

    def collect(self) -> None:
        for first, last in self.bench.seconds():
            self.on_the_way.append(range(first, last + 1))

    @invariant()
    def nothing_is_lost(self) -> None:
        held = {second for first, last in self.bench.held() for second in range(first, last + 1)}
        assert self.recorded <= held | self.database
        assert held <= self.recorded


HoldingMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestHolding = HoldingMachine.TestCase
