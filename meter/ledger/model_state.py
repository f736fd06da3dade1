"""What the reference model holds: sessions and accounts as plain sets. See `model.py`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from meter.ledger.types import UNLIMITED, SessionKey, SessionState, Standing
from meter.periods import Period
from meter.seconds import minute_masks
from meter.terms import DEFAULT_TERMS, Terms

Moment = tuple[int, int]  # epoch seconds, microseconds
Place = TypeVar("Place")

# Nothing is due further ahead: where it seems so, the clock was set back.
FARTHEST_SECONDS = 600
APART_SECONDS = 60
# No session is heard from further ahead than two servers' clocks are apart.
AHEAD_SECONDS = 5


@dataclass
class Session:
    """`counted` are its seconds; `pending` the UTC minutes with seconds that are not durable.

    `durable` is the revision of its row that Postgres has, `due` when something is to be made
    durable, `refused` why Postgres would not have it. `seen` is its last sign of life, `listed` a
    lower bound of that, by which those that are silent are found.
    """

    key: SessionKey
    user_id: str
    kind: str
    origin: int
    seen: int
    revision: int
    owner: int = 0
    durable: int = 0
    metadata: str = ""
    counted: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    ended_at: int | None = None
    end_reason: str | None = None
    due: int | None = None
    refused: str | None = None
    expiring: bool = False
    grace_from: int | None = None
    told: str = ""
    listed: int = 0

    @property
    def highest(self) -> int:
        return max(self.counted, default=-1)

    @property
    def durable_through(self) -> int:
        """The last second up to which all that was counted is in Postgres."""
        if not self.pending:
            return self.highest
        return max(min(min(self.pending) * 60 - self.origin - 1, self.highest), -1)

    def minute_of(self, second: int) -> int:
        return (self.origin + second) // 60

    def mask(self, minute: int) -> int:
        """The counted seconds of a UTC minute."""
        return minute_masks(self.origin, self.counted).get(minute, 0)

    def due_by(self, moment: int) -> None:
        """Something is to be made durable by then, if not earlier."""
        self.due = moment if self.due is None else min(self.due, moment)

    def due_at_once(self, now: int) -> None:
        """All of an ended session is due now, also if the clock is set back by then: not when its
        last minute would have been, unless that was before its last second already."""
        if self.due is None or self.due > self.origin + self.highest + 1:
            self.due = now
        self.due_by(now)

    def set_back(self, now: int) -> None:
        """What is due by a clock that was set back is due now."""
        if self.due is not None and self.due > now + FARTHEST_SECONDS:
            self.due = now

    def hear(self, now: int) -> None:
        """A sign of life."""
        if now < self.seen:
            self.listed = min(self.listed, now)
        self.seen = now

    def sweep(self, now: int, lost_after_seconds: int) -> bool:
        """Whether a live session is lost. One that was last heard from in the future, by a clock
        that was set back, was so now."""
        is_quiet = now - self.listed > lost_after_seconds
        if self.listed > now + AHEAD_SECONDS or (is_quiet and self.seen > now + AHEAD_SECONDS):
            self.seen = self.listed = now
        elif is_quiet:
            self.listed = self.seen
        return now - self.seen > lost_after_seconds

    def change(self, now: Moment) -> None:
        """Its own row changed. The revision is one that no other incarnation has had."""
        self.revision = max(now[0] * 1_000_000 + now[1], self.revision + 1)
        self.due_by(now[0])

    def state(self) -> SessionState:
        return SessionState(
            self.key,
            self.user_id,
            self.kind,
            self.origin,
            self.revision,
            len(self.counted),
            self.highest,
            self.durable_through,
            self.ended_at,
            self.end_reason,
        )


@dataclass
class Figure:
    """Seconds used in a period: those of the seed, and one for each element counted since; and
    what was adjusted by hand."""

    seeded: int
    adjusted: int = 0
    counted: set[tuple[str, int]] = field(default_factory=set)

    @property
    def size(self) -> int:
        """Of the set that the figure stands for."""
        return self.seeded + len(self.counted)

    @property
    def used(self) -> int:
        return self.size + self.adjusted


def _keep_more(figures: dict[Place, Figure], place: Place, figure: Figure) -> None:
    if place not in figures or figures[place].size < figure.size:
        figures[place] = Figure(figure.seeded, counted=set(figure.counted))


@dataclass
class Account:
    """An organization's periods, limits and figures. A figure that isn't there is cold."""

    periods: tuple[Period, ...] = ()
    limit: int = UNLIMITED
    terms: Terms = DEFAULT_TERMS
    member_limits: dict[str, int] = field(default_factory=dict)
    used: dict[int, Figure] = field(default_factory=dict)
    member_used: dict[tuple[int, str], Figure] = field(default_factory=dict)

    @property
    def cap(self) -> int:
        """The most that the organization may use: its limit, and the overage past it."""
        if UNLIMITED in (self.limit, self.terms.overage_seconds):
            return UNLIMITED
        return self.limit + self.terms.overage_seconds

    @property
    def is_known(self) -> bool:
        """Whether it was ever seeded: then only a member or a period of it can be cold."""
        return bool(self.periods)

    def set_periods(self, periods: tuple[Period, ...], now: int) -> None:
        """Where the present period starts elsewhere than before, as after a change of the cycle
        that came before Postgres had anything, what was counted in it goes along."""
        old, self.periods = self.period_at(now), periods
        new = self.period_at(now)
        if old is None or new is None or old.start == new.start:
            return
        if old.start in self.used:
            _keep_more(self.used, new.start, self.used[old.start])
        for (start, user_id), figure in list(self.member_used.items()):
            if start == old.start:
                _keep_more(self.member_used, (new.start, user_id), figure)

    def period_at(self, moment: int) -> Period | None:
        return next((period for period in self.periods if moment in period), None)

    def figure(self, start: int, user_id: str | None) -> Figure | None:
        """The organization's figure in a period, or a member's."""
        if user_id is None:
            return self.used.get(start)
        return self.member_used.get((start, user_id))

    def figures(self, moment: int, user_id: str) -> list[Figure]:
        """The organization's and the member's figures at a moment, as far as they are there."""
        period = self.period_at(moment)
        if period is None:
            return []
        both = self.used.get(period.start), self.member_used.get((period.start, user_id))
        return [figure for figure in both if figure is not None]

    def is_hot(self, moment: int, user_id: str) -> bool:
        return len(self.figures(moment, user_id)) == 2 and user_id in self.member_limits

    def standing(self, moment: int, user_id: str) -> Standing:
        """Of a hot account."""
        period = self.period_at(moment)
        assert period is not None
        used, member_used = self.figures(moment, user_id)
        member_limit = self.member_limits[user_id]
        return Standing(period, used.used, self.limit, member_used.used, member_limit, self.terms)

    def missing_room(self, moments: Iterable[int], user_id: str) -> int:
        """How many of these have no room, each in the period that it falls into."""
        missing = 0
        for period, count in Counter(map(self.period_at, moments)).items():
            assert period is not None
            now = self.standing(period.start, user_id)
            rooms = [self.cap - now.used] if self.cap != UNLIMITED else []
            if now.member_limit != UNLIMITED:
                rooms.append(now.member_limit - now.member_used)
            missing += max(count - max(min(rooms, default=count), 0), 0)
        return missing

    def has_room(self, moment: int, user_id: str) -> bool:
        """Whether one second more stays within both limits, and the overage past the first."""
        now = self.standing(moment, user_id)
        return (self.cap == UNLIMITED or now.used < self.cap) and (
            now.member_limit == UNLIMITED or now.member_used < now.member_limit
        )
