"""Who speaks: what a verified token says. Pure."""

from dataclasses import dataclass

DEFAULT_SCOPES = frozenset({"record", "usage"})


@dataclass(frozen=True, slots=True)
class Identity:
    """`expires_in` is in seconds from the verification on."""

    user_id: str
    organization_id: str
    scopes: frozenset[str]
    expires_in: float

    def is_same_user(self, other: "Identity | None") -> bool:
        """Whether both name the same user of the same organization."""
        return other is not None and (self.user_id, self.organization_id) == (
            other.user_id,
            other.organization_id,
        )


class TokenRefused(Exception):
    """A token that proves nothing. The text says why, and never repeats the token."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired
