"""A gateway that only notes what happens to it."""

import os
from pathlib import Path


def note(line: str) -> None:
    """Append a line to what the test reads."""
    with Path(os.environ["STANDIN_NOTES"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
