"""What goes into the ledger and what comes back. Times are epoch seconds on the server's clock.

Types of which a heartbeat makes one are msgspec's, which cost a fraction of a dataclass to make.

A minute is numbered by `epoch seconds // 60`. Its mask has bit `i` set when second `i` of that UTC
minute was counted, so a mask is below 2**60.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from meter.limits import UNLIMITED as UNLIMITED
from meter.periods import Period
from meter.terms import DEFAULT_TERMS, Terms
from meter.thresholds import Alert


class SessionKey(Struct, frozen=True, gc=False):
    """Names a session. The organization decides the partition, so both are always needed."""

    organization_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as the ledger has it.

    `origin` is second 0; `highest` the last second counted and `durable_through` the last one up
    to which all is in Postgres (-1 when none); `revision` grows with each change of the session's
    own row (opened, ended, resumed), so that a stale copy never overwrites a newer one.
    """

    key: SessionKey
    user_id: str
    kind: str
    origin: int
    revision: int
    seconds: int = 0
    highest: int = -1
    durable_through: int = -1
    ended_at: int | None = None
    end_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Minute:
    """The counted seconds of one session in one UTC minute."""

    minute: int
    mask: int


@dataclass(frozen=True, slots=True)
class DueSession:
    """What a flusher is to make durable of one session.

    `row_due` says whether the session's own row is (it was opened, ended or resumed since the
    last settle); `metadata` is a JSON object's text, empty when it is already durable.
    """

    state: SessionState
    row_due: bool
    metadata: str
    minutes: tuple[Minute, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What of a `DueSession` Postgres has committed. Only then may the ledger let go of it."""

    key: SessionKey
    revision: int
    minutes: tuple[Minute, ...]


class CollectStatus(StrEnum):
    """Whether a flusher got a partition's work: another holds its lease, or it has it now."""

    LEASED = "leased"
    MINE = "mine"


@dataclass(frozen=True, slots=True)
class Collected:
    """The answer to `collect` on one partition. `more` says that the batch limit cut it."""

    status: CollectStatus
    due: tuple[DueSession, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as Postgres has it, for putting it back into an empty ledger."""

    state: SessionState
    minutes: tuple[Minute, ...]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The sum of what was adjusted by hand in a period: of an organization, or with `user_id` of
    one member. It is used on top of what was counted; below 0, it is given back. In seconds."""

    period_start: int
    user_id: str | None
    seconds: int


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """An account as Postgres has it: seconds used by the organization and by one member in each
    of `periods` (all in one snapshot), as counted; what was adjusted on top; their limits in
    seconds (`UNLIMITED` when none), and the organization's terms.

    `limits_version` is that of `AccountLimits`. `live` is None where it was not asked for."""

    organization_id: str
    user_id: str
    periods: tuple[Period, ...]
    organization_used: tuple[int, ...]
    member_used: tuple[int, ...]
    organization_limit: int = UNLIMITED
    member_limit: int = UNLIMITED
    terms: Terms = DEFAULT_TERMS
    limits_version: int = 0
    # Sessions of this account that Postgres has as live, from the same snapshot as the figures:
    # an empty ledger gets both at once, so that the figures and the bitmaps cannot disagree.
    live: tuple[StoredSession, ...] | None = ()
    adjustments: tuple[Adjusted, ...] = ()

    def adjusted(self, at: int) -> tuple[int, int]:
        """Seconds adjusted in a period, the organization's and the member's."""
        found = {
            each.user_id: each.seconds
            for each in self.adjustments
            if each.period_start == self.periods[at].start
        }
        return found.get(None, 0), found.get(self.user_id, 0)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """The present limits of an organization and of its members, in seconds (`UNLIMITED` when
    none), and its terms; a member who isn't named has none. `periods` are those around now; empty:
    as they were. `adjustments` are all figures that were ever adjusted in periods around now.

    `version` grows with each change of them, so that older limits never replace newer ones."""

    organization_id: str
    version: int
    organization_limit: int
    member_limits: Mapping[str, int]
    terms: Terms = DEFAULT_TERMS
    periods: tuple[Period, ...] = ()
    adjustments: tuple[Adjusted, ...] = ()


class Storage(Protocol):
    """What the ledger's users need of Postgres; `persistence` implements it.

    Every method raises `StorageUnavailable` when Postgres cannot be asked now.
    """

    async def load_session(self, session_id: str) -> StoredSession | None:
        """The session and its minutes, whoever's it is; None when Postgres never saw it."""

    async def load_account(
        self,
        organization_id: str,
        user_id: str,
        at_second: int,
        *,
        with_live: bool = True,
    ) -> AccountFigures:
        """The account's figures in its periods before, of and after an epoch second; zeros for an
        account without rows. `live` is filled on request: only an organization that the ledger
        doesn't know at all needs it."""

    async def note_alerts(self, alerts: list[Alert]) -> None:
        """Make a row of each crossed threshold that has none yet."""

    async def ping(self) -> None:
        """Return when Postgres answers and its schema is the one this program needs."""


class StorageUnavailable(Exception):
    """Postgres cannot be reached, or doesn't answer in time."""


class LedgerUnavailable(Exception):
    """Redis cannot be reached, doesn't answer in time, or refuses to write now.

    What was asked may or may not have happened; every call may simply be made again.
    """


class Standing(Struct, frozen=True, gc=False):
    """Where an account stands in its present period: the level that warnings and stops follow."""

    period: Period
    used: int
    limit: int
    member_used: int
    member_limit: int
    terms: Terms = DEFAULT_TERMS


class OpenStatus(StrEnum):
    """What `open` found or did."""

    CREATED = "created"
    RESUMED = "resumed"
    ABSENT = "absent"  # not in the ledger: look into Postgres, then restore it or create it
    ENDED = "ended"
    FOREIGN = "foreign"  # of another user or organization
    # The account's figures have to be seeded first, with the organization's live sessions;
    # or without, where the ledger knows the organization.
    ACCOUNT_COLD = "account_cold"
    MEMBER_COLD = "member_cold"
    LIMIT_REACHED = "limit_reached"
    TOO_MANY_SESSIONS = "too_many_sessions"


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """`owner` marks the connection that now speaks for the session (the newest wins).

    Without `create`, an unknown session is reported as absent and nothing is written.
    """

    key: SessionKey
    user_id: str
    kind: str
    owner: int
    metadata: str = ""
    create: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer to `open`. `session` and `standing` are set when it was created or resumed;
    `told` is what was noted of it with `note_told`."""

    status: OpenStatus
    server_time: float
    session: SessionState | None = None
    standing: Standing | None = None
    told: str = ""


class CountStatus(StrEnum):
    """What became of one session's item in a `count` batch."""

    COUNTED = "counted"
    ABSENT = "absent"
    ENDED = "ended"
    ACCOUNT_COLD = "account_cold"
    MEMBER_COLD = "member_cold"


class CountItem(Struct, frozen=True, gc=False):
    """Seconds of one session to count: inclusive ranges, ascending. None at all: a sign of life,
    which is answered with the session's present state.

    `origin` is the beginning that they are numbered from, if the caller knows it: a session with
    another one doesn't have them, and is `ABSENT`."""

    key: SessionKey
    ranges: tuple[tuple[int, int], ...]
    origin: int | None = None


class Counted(Struct, frozen=True, gc=False):
    """The answer to one `CountItem`.

    When `status` is `COUNTED`, each second was counted now, had been counted before, or was
    refused: `in_future` and `too_late` by the clock, `over_limit` by a limit, `over_duration` by
    the longest session allowed. When it is `ENDED` nothing was counted. Otherwise nothing was
    done: restore the session, or seed the account, and call again.
    """

    status: CountStatus
    new: int = 0
    in_future: int = 0
    too_late: int = 0
    over_limit: int = 0
    over_duration: int = 0
    seconds: int = 0
    highest: int = -1
    durable_through: int = -1
    owner: int = 0
    end_reason: str = ""
    standing: Standing | None = None


class LookItem(Struct, frozen=True, gc=False):
    """An organization to look at: the standing of each of some users of it, and at most so many
    of its live sessions."""

    organization_id: str
    user_ids: tuple[str, ...]
    most_sessions: int = 0


class ActiveSession(Struct, frozen=True, gc=False):
    """A live session, as those see it who watch its organization."""

    session_id: str
    user_id: str
    kind: str
    origin: int
    seconds: int


class Coldness(StrEnum):
    """Why there is no standing: the account has to be seeded first, as in `OpenStatus`."""

    ACCOUNT_COLD = "account_cold"
    MEMBER_COLD = "member_cold"


class Look(Struct, frozen=True, gc=False):
    """The answer to one `LookItem`. `live` are the sessions that began last, the last one first;
    `live_count` counts those too that aren't listed; `standings` are in the users' order."""

    live_count: int
    live: tuple[ActiveSession, ...]
    standings: tuple[Standing | Coldness, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds that the ledger applies. All in seconds."""

    future_seconds: int = 2
    late_seconds: int = 86_400
    max_session_seconds: int = 86_400
    lost_after_seconds: int = 60
    resume_seconds: int = 900
    # A minute is due this long after its end: late enough for its last heartbeat to have come.
    flush_after_seconds: int = 1
    # A session that Postgres refused is tried again after this.
    retry_refused_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not durable yet, over all partitions."""

    sessions_due: int
    oldest_due_at: int | None
    set_aside: int
    live_sessions: int
