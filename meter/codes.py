"""Close codes, error codes and reasons: the part of the contract that clients branch on."""

from enum import IntEnum, StrEnum

SUBPROTOCOL = "minute-meter.v1"


class CloseCode(IntEnum):
    """WebSocket close codes. 4000-4499: reconnect. 4500-4999: don't."""

    NORMAL = 1000
    DRAINING = 4000
    TOKEN_EXPIRED = 4001
    OVERLOADED = 4002
    TOO_SLOW = 4003
    STORAGE_UNAVAILABLE = 4004
    LIMIT_REACHED = 4500
    SESSION_ENDED = 4501
    TAKEN_OVER = 4502
    STOPPED_BY_OPERATOR = 4503
    BAD_MESSAGE = 4504
    TOKEN_REFUSED = 4505
    NOT_ALLOWED = 4506
    TOO_MANY_SESSIONS = 4507
    NO_START = 4508

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back after this close (any code outside 4500-4999)."""
        return self is not CloseCode.NORMAL and self < 4500


class ErrorCode(StrEnum):
    """`code` of an `error` message; stable, for programs to branch on."""

    BAD_MESSAGE = "bad_message"
    UNKNOWN_TYPE = "unknown_type"
    ALREADY_STARTED = "already_started"
    NOT_STARTED = "not_started"
    NO_START = "no_start"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_REFUSED = "token_refused"
    NOT_ALLOWED = "not_allowed"
    SESSION_ENDED = "session_ended"
    SESSION_NOT_FOUND = "session_not_found"
    TAKEN_OVER = "taken_over"
    LIMIT_REACHED = "limit_reached"
    TOO_MANY_SESSIONS = "too_many_sessions"
    SECOND_IN_FUTURE = "second_in_future"
    SECOND_TOO_LATE = "second_too_late"
    OVERLOADED = "overloaded"
    TOO_SLOW = "too_slow"
    STORAGE_UNAVAILABLE = "storage_unavailable"


class EndReason(StrEnum):
    """Why a session ended; stands in `stopped.reason` and `interview_sessions.end_reason`."""

    STOPPED = "stopped"
    LOST = "lost"
    LIMIT_REACHED = "limit_reached"
    MAX_DURATION = "max_duration"
    ADMIN = "admin"


# How the connection of a session that ended for such a reason is closed; others: 1000 after a
# `stopped` that was asked for, 4501 when the session ended elsewhere.
CLOSE_OF_END: dict[str, CloseCode] = {
    EndReason.ADMIN: CloseCode.STOPPED_BY_OPERATOR,
    EndReason.LIMIT_REACHED: CloseCode.LIMIT_REACHED,
}
