"""What an audit finds."""

from dataclasses import dataclass

# The one figure that counts uses, and not seconds.
USES = "feature_usage"


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure that differs from what it is derived from: which, whose (`user_id` None: the
    organization's), where in it, what is kept and what the rows say, in seconds or in uses."""

    figure: str
    organization_id: str
    user_id: str | None
    place: str
    kept: int
    counted: int

    @property
    def off(self) -> int:
        """How far it is off, in what it counts."""
        return self.kept - self.counted

    @property
    def seconds(self) -> int:
        """How many seconds it is off; 0 where it counts uses."""
        return 0 if self.figure == USES else self.off
