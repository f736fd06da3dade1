"""The seconds of one connection's session: heard, being counted, and not durable yet. Pure."""

from meter.ledger.types import Counted, SessionState
from meter.seconds import Range, SecondSet
from meter.thresholds import NOTHING_TOLD

# A client may send seconds with a gap after each. They are counted so many at once, that neither
# the ledger nor this process is held up by one session; the others wait for the next batch.
MAX_RANGES = 256
# What the ledger takes that is early, and the difference of two machines' clocks, are less.
APART_SECONDS = 5


class Tally:
    """Sets of seconds on their way, and what may be told of them.

    A second is in `pending` until it is taken, in flight until the ledger answers, and then in
    `undurable` until Postgres has it. All sets start at a floor that moves on, so they stay small.
    """

    __slots__ = (
        "_behind",
        "_inflight",
        "_inflight_heartbeats",
        "_inflight_through",
        "_sent_through",
        "_settled_through",
        "covered",
        "doubted",
        "durable_through",
        "fell",
        "heartbeats",
        "kept_early",
        "pending",
        "seconds",
        "told",
        "undurable",
    )

    def __init__(self) -> None:
        self.pending = SecondSet()
        self.undurable = SecondSet()
        self.heartbeats = 0  # heard on this connection
        self.covered = 0  # of these, those that the last reply takes into account
        self.seconds = 0  # as the ledger told last
        self.durable_through = -1
        self.doubted = False  # the ledger's server is another one, and may be behind the former
        self.kept_early = False  # all that the last reply calls early is kept, to be counted later
        self.fell = False  # the ledger's number of them, with its last reply: it had lost some
        self.told = NOTHING_TOLD  # of warnings; goes with the session to its next connection
        self._behind = False  # the ledger's clock, and not only the client's is ahead
        self._inflight: tuple[Range, ...] = ()
        self._inflight_heartbeats = 0
        self._inflight_through = -1
        self._sent_through = -1
        self._settled_through = -1

    @property
    def waiting(self) -> bool:
        """Whether something that was heard is not counted yet."""
        return bool(self.pending) or bool(self._inflight)

    def start_from(self, state: SessionState) -> None:
        """Go on from what the ledger has."""
        self.seconds = state.seconds
        self.durable_through = state.durable_through
        self._sent_through = self._settled_through = state.highest

    def hear(self, first: int, last: int) -> None:
        """Seconds to count, inclusive."""
        self.pending.add(first, last)
        if last > self._sent_through:
            self._sent_through = last

    def take(self) -> tuple[Range, ...]:
        """Ranges to count now; the next call is `counted` or `put_back`."""
        self._inflight = inflight = self.pending.take(MAX_RANGES)
        self._inflight_heartbeats = self.heartbeats
        self._inflight_through = inflight[-1][1] if self.pending.mask else self._sent_through
        return inflight

    def put_back(self) -> None:
        """What was taken was not counted, as far as is known: it waits on. If it was after all, the
        next reply doesn't call it new, and its number may hide that the ledger lost others."""
        for first, last in self._inflight:
            self.pending.add(first, last)
        self._inflight = ()
        self.doubted = self.doubted or bool(self.undurable)

    def inherit(self, other: "Tally") -> None:
        """Take over what another connection of the session has heard and not seen durable; all of
        it is counted once more, as the ledger may have lost it in between."""
        self.pending.merge(other.pending)
        for first, last in other._inflight:
            self.pending.add(first, last)
        self.pending.merge(other.undurable)
        self.undurable.merge(other.undurable)
        self.told = other.told
        self._sent_through = max(self._sent_through, other._sent_through)

    def recount(self) -> None:
        """The ledger has lost seconds: it gets back all that isn't durable."""
        self.pending.merge(self.undurable)

    def doubt(self) -> None:
        """The ledger's server is another one. What it calls durable are the seconds that it has, so
        it gets all of these again before it is believed."""
        self.doubted = True

    def has_lost(self, seconds: int) -> bool:
        """Whether a ledger that has so many seconds of the session may lack some that it had: their
        number can't fall. (It may have, and risen again by other connections': hence the doubt.)"""
        return self.doubted or seconds < self.seconds

    def believed(self, durable_through: int, seconds: int) -> int:
        """Up to where all is durable, by a ledger that says so and has so many seconds."""
        if self.undurable and self.has_lost(seconds):
            return min(durable_through, self.undurable.lowest() - 1)
        return durable_through

    def forget(self) -> None:
        """None of these can be counted any more, nor given back."""
        self.drop_pending()
        self.undurable.clear()

    def forget_coming(self, earliest: int, present: int) -> int:
        """The ledger calls early what is from `earliest` on. What of that is still to come by this
        machine's clock as well, by which it is `present`, was numbered by a clock that was ahead:
        it need not be given back. Gives how many seconds that are."""
        kept = len(self.undurable)
        self.undurable.discard_from(max(present + APART_SECONDS + 1, earliest))
        return kept - len(self.undurable)

    def drop_pending(self) -> None:
        """Nothing new of this session can be counted any more. What the ledger had lost and was to
        get back is still to be given to it."""
        self.doubted = self.doubted or (self.waiting and bool(self.undurable))
        self.pending.clear()
        self._inflight = ()

    def counted(self, reply: Counted, earliest: int, present: int) -> int:
        """The ledger's answer for what was taken. `earliest` is the first second that is not too
        late, and `present` the one under way by this machine's clock, if some are early. Gives how
        many seconds were asked for; when the ledger had lost some, all that isn't durable is
        pending again."""
        inflight, self._inflight = self._inflight, ()
        self.fell = reply.seconds - reply.new < self.seconds
        lost = self.fell or self.doubted
        self.doubted = self.kept_early = False
        if inflight and not reply.in_future:
            self._behind = False
        self.seconds = reply.seconds
        self.covered = self._inflight_heartbeats
        if reply.in_future:
            self._settled_through = max(self._settled_through, reply.highest)
            self._sent_through = max(self._settled_through, self.pending.highest())
        elif self._inflight_through > self._settled_through:
            self._settled_through = self._inflight_through
        if reply.new == 1 and len(inflight) == 1 and inflight[0][0] == inflight[0][1]:
            self.undurable.add(*inflight[0])  # a live session's usual
            asked = 1
        else:
            asked = _size(inflight)
            if reply.in_future:
                inflight = self._keep_early(inflight, reply.in_future, present)
            self._keep(inflight, reply, earliest)
        if self.doubted:
            pass  # what was early is for a later time
        elif lost:
            self.recount()
        elif self.pending.mask:  # some of these may be on their way to it once more
            through = min(reply.durable_through, self.pending.lowest() - 1)
            self.undurable.discard_through(through)
        else:
            self.undurable.discard_through(reply.durable_through)
        return asked

    def _keep_early(
        self, inflight: tuple[Range, ...], early: int, present: int
    ) -> tuple[Range, ...]:
        """So many were early, the last ones. Where one of them is long past by this machine's
        clock, the ledger's was set back, and for a while all that is past is early to it: that
        stays here until it takes it. Gives the others."""
        rest, refused = split_last(inflight, early)
        earliest, latest = refused[0][0], refused[-1][1]
        self._behind = self._behind or earliest <= present - APART_SECONDS
        if self._behind:
            for first, last in refused:
                if first <= present:
                    self.undurable.add(first, min(last, present))
        self.forget_coming(earliest, present)
        self.doubted = self.undurable.highest() >= earliest
        self.kept_early = self._behind and latest <= present
        return rest

    def _keep(self, inflight: tuple[Range, ...], reply: Counted, earliest: int) -> None:
        """What was counted stays here until it is durable. What was refused must not: it would be
        given back one day. (Where a limit refused some below the highest, it can't be told which:
        then all are kept, and it is for the limit to refuse as many again.)"""
        refused = reply.in_future + reply.too_late + reply.over_limit + reply.over_duration
        if refused:
            within = [(max(first, earliest), min(last, reply.highest)) for first, last in inflight]
            inflight = tuple((first, last) for first, last in within if first <= last)
        for first, last in inflight:
            self.undurable.add(first, last)

    def counted_through(self) -> int:
        """Every second sent up to here was counted or refused."""
        if self.pending.mask:
            return min(self.pending.lowest() - 1, self._settled_through)
        return self._settled_through


def split_last(
    ranges: tuple[Range, ...], seconds: int
) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """Ascending ranges but for their last seconds, so many, and these."""
    before, last_ones = list(ranges), []
    while seconds > 0 and before:
        first, last = before.pop()
        start = max(last - seconds + 1, first)
        seconds -= last - start + 1
        last_ones.append((start, last))
        if first < start:
            before.append((first, start - 1))
    return tuple(before), tuple(reversed(last_ones))


def _size(ranges: tuple[Range, ...]) -> int:
    return sum([last - first + 1 for first, last in ranges])
