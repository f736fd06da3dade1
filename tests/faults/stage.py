"""What the nemesis acts on."""

import asyncio
from dataclasses import dataclass, field

from tests.faults.crowd import Crowd
from tests.faults.house import House


@dataclass
class Stage:
    """A house, its crowd, and whether new sessions may begin now."""

    house: House
    crowd: Crowd
    may_start: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_start.set()
