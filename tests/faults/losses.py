"""When a fault took what Valkey or a gateway held. Pure; times are monotonic seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Span = tuple[float, float]

BEFORE_SECONDS, AFTER_SECONDS = 5.0, 120.0


@dataclass
class Losses:
    """From when to when, for each such fault; one that isn't over has an end in the future."""

    valkey: list[Span] = field(default_factory=list)
    gateways: list[Span] = field(default_factory=list)

    def note(self, loses: frozenset[str], began: float, ended: float) -> None:
        """A fault lost what these held, in that time."""
        if "valkey" in loses:
            self.valkey.append((began, ended))
        if "gateways" in loses:
            self.gateways.append((began, ended))

    def excuse(self, vanished_at: float | None) -> bool:
        """Whether both holders lost what they had of a recorder that vanished at that moment."""
        return vanished_at is not None and all(
            _near(spans, vanished_at) for spans in (self.valkey, self.gateways)
        )


def _near(spans: Sequence[Span], moment: float) -> bool:
    return any(
        began <= moment + AFTER_SECONDS and ended >= moment - BEFORE_SECONDS
        for began, ended in spans
    )
