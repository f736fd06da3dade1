"""Which ends a session may have in a run, each with its cause. Pure."""

from collections.abc import Iterator

from meter.codes import EndReason, ErrorCode
from tests.faults.book import Book
from tests.faults.losses import Losses

_LIMIT = frozenset({EndReason.LIMIT_REACHED, ErrorCode.LIMIT_REACHED})


def judge_end(book: Book, *, has_limit: bool, used_up: bool, losses: Losses) -> Iterator[str]:
    """What is wrong with how a session ended. Nobody but its driver ends one, or an operator, or
    its account's limit, which a recorder that was cut off when that was `used_up` learns when it
    comes back; and each has one recorder, so none is ever taken over."""
    if book.abandoned:
        return
    if book.end is None:
        yield f"session {book.session_id} has no end"
        return
    reason = book.end.reason
    allowed = (
        (reason == EndReason.STOPPED and book.asked)
        or (reason in _LIMIT and has_limit)
        or (reason == ErrorCode.SESSION_ENDED and used_up)
        or (reason == EndReason.ADMIN and book.operator)
        or (
            reason == ErrorCode.NO_START
            and not book.recorded
            and losses.kept_from_starting(book.ended_at)
        )
    )
    if not allowed:
        asked = "its driver asked for one" if book.asked else "nobody asked for one"
        yield (
            f"session {book.session_id} of {book.organization_id}/{book.user_id} ended as "
            f"{reason} ({book.end.code}, {book.end.detail!r}), and {asked}; it recorded "
            f"{len(book.recorded)} s on {book.connections} connections"
        )
