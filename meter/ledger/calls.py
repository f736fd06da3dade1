"""Arguments of the server functions. Pure: what goes over the wire, in the library's order."""

from collections.abc import Iterable, Sequence

from meter.ledger.keys import partition_of, prefix_of
from meter.ledger.types import (
    AccountFigures,
    AccountLimits,
    CountItem,
    LookItem,
    Minute,
    OpenRequest,
    Rules,
    Settlement,
    StoredSession,
)

Argument = str | int

_LOW_30 = (1 << 30) - 1


def open_arguments(request: OpenRequest, rules: Rules) -> list[Argument]:
    """ARGV of `open`."""
    return [
        request.key.session_id,
        request.key.organization_id,
        request.user_id,
        request.kind,
        request.owner,
        request.metadata,
        int(request.create),
        rules.resume_seconds,
    ]


def count_call(items: Iterable[CountItem], rules: Rules) -> tuple[tuple[str, ...], list[Argument]]:
    """KEYS and ARGV of `count`: the items' partitions, and each item with the number of its, and
    their origins. All items are one argument: packing it costs less than many small ones do."""
    numbers: dict[int, int] = {}
    batch: list[str] = []
    origins: list[str] = []
    for item in items:
        key = item.key
        number = numbers.setdefault(partition_of(key.organization_id), len(numbers) + 1)
        batch.append(f"{number} {key.session_id} {_ranges(item.ranges)};")
        origins.append(_origin(item))
    return tuple(map(prefix_of, numbers)), [
        rules.future_seconds,
        rules.late_seconds,
        rules.max_session_seconds,
        rules.flush_after_seconds,
        "".join(batch),
        " ".join(origins),
    ]


def give_back_arguments(item: CountItem, rules: Rules) -> list[Argument]:
    """ARGV of `give_back`."""
    return [
        rules.future_seconds,
        rules.late_seconds,
        rules.max_session_seconds,
        rules.flush_after_seconds,
        item.key.session_id,
        _ranges(item.ranges),
        _origin(item),
    ]


def _origin(item: CountItem) -> str:
    return "-" if item.origin is None else str(item.origin)


def _ranges(ranges: Sequence[tuple[int, int]]) -> Argument:
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:  # a live session's usual
        return ranges[0][0]
    return ",".join([f"{first}:{last}" for first, last in ranges])


def collect_arguments(
    flusher_id: str, lease_seconds: float, limit: int, rules: Rules, own_time: int | None
) -> list[Argument]:
    """ARGV of `collect`."""
    return [
        flusher_id,
        int(lease_seconds * 1000),
        limit,
        rules.lost_after_seconds,
        rules.flush_after_seconds,
        "-" if own_time is None else own_time,
    ]


def settle_arguments(settlements: Iterable[Settlement], rules: Rules) -> list[Argument]:
    """ARGV of `settle`, all of one partition."""
    arguments: list[Argument] = [rules.flush_after_seconds, _kept_seconds(rules)]
    for settlement in settlements:
        arguments += (settlement.key.session_id, settlement.revision, len(settlement.minutes))
        arguments += _minutes(settlement.minutes)
    return arguments


def restore_arguments(stored: StoredSession, metadata: str) -> list[Argument]:
    """ARGV of `restore`. A revision of 0 says that Postgres doesn't know the session."""
    state = stored.state
    return [
        state.key.session_id,
        state.key.organization_id,
        state.user_id,
        state.kind,
        state.origin,
        state.revision,
        "" if state.ended_at is None else state.ended_at,
        state.end_reason or "",
        metadata,
        len(stored.minutes),
        *_minutes(stored.minutes),
    ]


def seed_arguments(figures: AccountFigures) -> list[Argument]:
    """ARGV of `seed`."""
    arguments: list[Argument] = [
        figures.organization_id,
        figures.user_id,
        figures.organization_limit,
        figures.member_limit,
        figures.terms.text,
        figures.limits_version,
        int(figures.live is not None),
        len(figures.periods),
    ]
    for at, period in enumerate(figures.periods):
        arguments += (
            period.start,
            period.end,
            figures.organization_used[at],
            figures.member_used[at],
            *figures.adjusted(at),
        )
    for stored in figures.live or ():
        arguments += restore_arguments(stored, "")
    return arguments


def look_arguments(item: LookItem) -> list[Argument]:
    """ARGV of `look`."""
    return [item.organization_id, item.most_sessions, *item.user_ids]


def limits_arguments(limits: AccountLimits) -> list[Argument]:
    """ARGV of `set_limits`."""
    arguments: list[Argument] = [
        limits.organization_id,
        limits.version,
        limits.organization_limit,
        limits.terms.text,
        ",".join(f"{period.start}-{period.end}" for period in limits.periods),
        len(limits.adjustments),
    ]
    for adjusted in limits.adjustments:
        arguments += (adjusted.period_start, adjusted.user_id or "", adjusted.seconds)
    for user_id, limit in limits.member_limits.items():
        arguments += (user_id, limit)
    return arguments


def _minutes(minutes: Iterable[Minute]) -> list[Argument]:
    # Lua's numbers hold 53 bits, a mask has 60.
    return [part for row in minutes for part in (row.minute, row.mask & _LOW_30, row.mask >> 30)]


def _kept_seconds(rules: Rules) -> int:
    # While a lost session may be resumed its bitmap has to be there; a while more costs little.
    return rules.resume_seconds + 60
