"""The ledger's server functions as the library that is loaded: its text, its names, its version.

Pure. VERSION and REVISION are said here and nowhere else; docs/design.md ("Two releases at once")
says when which of them goes up.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files

# Goes up with the arguments or the replies. Libraries of different versions have different names
# and stand side by side, on the same data: each process calls the functions of its own.
VERSION = 1
# Goes up with every other change of the text. Of one version there is one library, the newest.
REVISION = 13

_NAME = "minute_meter_v"


@dataclass(frozen=True)
class Library:
    """One version's functions. `source` is the Lua after the lines that say what it is."""

    version: int
    revision: int
    source: str

    @property
    def name(self) -> str:
        """The library's name on the server."""
        return f"{_NAME}{self.version}"

    @cached_property
    def prefix(self) -> str:
        """What the names of its functions begin with."""
        return f"mm{self.version}_"

    @property
    def text(self) -> str:
        """What `FUNCTION LOAD` takes."""
        return (
            f"#!lua name={self.name}\n"
            f"local PREFIX, REVISION = '{self.prefix}', {self.revision}\n"
            f"{self.source}"
        )

    def of_version(self, version: int, revision: int | None = None) -> "Library":
        """The same functions as another version's, or as another revision of it."""
        return replace(
            self, version=version, revision=self.revision if revision is None else revision
        )


# The names of all versions' libraries.
ANY_LIBRARY = f"{_NAME}*"


def version_of(library_name: str) -> int | None:
    """Which version's library this is the name of; None for one that isn't the ledger's."""
    number = library_name.removeprefix(_NAME)
    return int(number) if number != library_name and number.isdecimal() else None


def _source() -> str:
    """One text out of parts, each of which may use what is in those before it."""
    folder = files("meter.ledger").joinpath("library")
    parts = sorted(folder.iterdir(), key=lambda part: part.name)
    return "\n".join(part.read_text() for part in parts if part.name.endswith(".lua"))


LIBRARY = Library(VERSION, REVISION, _source())
