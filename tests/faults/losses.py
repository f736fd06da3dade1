"""When a fault took what Valkey or a gateway held, and when others kept seconds from becoming
durable, or connections from being made. Pure; times are monotonic seconds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Span = tuple[float, float]

# What was heard last is counted, or sent again to another gateway, within this.
COUNTED_SECONDS = 5.0
# A gateway looks once a second after those that vanished, and less often where it found no ledger.
GIVEN_BACK_SECONDS = 5.0
# A session that is silent ends in a run after 12 seconds, and is then due at once. Faults by which
# Valkey loses something begin with a wait until all that is due is in Postgres. A flusher's work is
# another one's after 3 seconds.
SILENT_DURABLE_SECONDS = 20.0
# One that goes on is written once a minute.
LIVE_DURABLE_SECONDS = 75.0
# A gateway waits 10 seconds for a `start`.
START_SECONDS = 15.0

HINDERING = frozenset({"postgres", "flushers", "valkey"})


@dataclass
class Losses:
    """From when to when, for each such fault: `valkey` lost what it held, and `gateways`, by their
    ports; `hindered`: Valkey, Postgres or a flusher didn't do what it does; `silenced`: no
    silent session ended; `front`: connections were cut or delayed."""

    valkey: list[Span] = field(default_factory=list)
    gateways: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    hindered: list[Span] = field(default_factory=list)
    silenced: list[Span] = field(default_factory=list)
    front: list[Span] = field(default_factory=list)

    def note(
        self,
        needs: frozenset[str],
        began: float,
        ended: float,
        *,
        silences: bool,
    ) -> None:
        """A fault kept those that it needs from working, and all silent sessions from ending."""
        span = (began, ended)
        for spans, applies in (
            (self.hindered, needs & HINDERING),
            (self.silenced, silences),
            (self.front, needs & {"front", "offline", "gateways"}),
        ):
            if applies:
                spans.append(span)

    def excuse(
        self,
        vanished_at: float | None,
        heard_at: float | None = None,
        gateway: int | None = None,
    ) -> bool:
        """Whether both holders lost what they had of a recorder that vanished at that moment, and
        whom its gateway (that, or any) answered last at `heard_at`: the gateway before Valkey had
        lost it, or before it could give it back; Valkey before Postgres had it."""
        if vanished_at is None:
            return False
        heard = vanished_at if heard_at is None else min(heard_at, vanished_at)
        since, until = heard - COUNTED_SECONDS, self._durable_by(vanished_at)
        one = None if gateway is None else self.gateways.get(gateway, ())
        gone = [span for spans in self.gateways.values() for span in spans] if one is None else one
        return any(
            began <= until
            and ended >= since
            and _meets(gone, since, self._after(ended, GIVEN_BACK_SECONDS, self.silenced))
            for began, ended in self.valkey
        )

    def valkey_lost(self, since: float, until: float) -> bool:
        """Whether Valkey lost something from then to then."""
        return _meets(self.valkey, since, until)

    def valkey_lost_counted(self, counted_at: float) -> bool:
        """Whether Valkey lost what was counted by then, before Postgres had it."""
        until = self._after(counted_at, LIVE_DURABLE_SECONDS, self.hindered)
        return self.valkey_lost(counted_at - COUNTED_SECONDS, until)

    def kept_from_starting(self, ended_at: float | None) -> bool:
        """Whether a connection's first frame may not have come in time."""
        return ended_at is not None and _meets(self.front, ended_at - START_SECONDS, ended_at)

    def _durable_by(self, silent_since: float) -> float:
        """When the last seconds of a session that is silent are in Postgres: what Valkey lost
        meanwhile, and got back, takes as long once more."""
        until = self._after(silent_since, SILENT_DURABLE_SECONDS, self.silenced)
        for began, ended in sorted(self.valkey):
            if silent_since <= ended and began <= until:
                until = max(until, self._after(ended, SILENT_DURABLE_SECONDS, self.silenced))
        return until

    def _after(self, moment: float, seconds: float, spans: Sequence[Span]) -> float:
        """So long after a moment, where time in those spans doesn't count."""
        for began, ended in _merged(spans):
            if ended <= moment:
                continue
            if began >= moment + seconds:
                break
            seconds -= max(began - moment, 0.0)
            moment = ended
        return moment + seconds


def _meets(spans: Iterable[Span], since: float, until: float) -> bool:
    return any(began <= until and ended >= since for began, ended in spans)


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for began, ended in sorted(spans):
        if merged and began <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(ended, merged[-1][1]))
        else:
            merged.append((began, ended))
    return merged
