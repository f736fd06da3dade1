"""How commands find Postgres and Redis, and what they say when Postgres doesn't answer."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from command.errors import CommandError

Result = TypeVar("Result")

Data = Annotated[
    Path | None,
    typer.Option(
        help="The data directory of a running dev server. Without it: DATABASE_URL, or else the "
        "dev server on .meter."
    ),
]
Organization = Annotated[str, typer.Argument(metavar="ORG", help="The organization's id.")]


def database_url(data: Path | None) -> str:
    """The database that is meant. Raises CommandError when no dev server runs there."""
    from command.devserver.state import read_dev_state

    url = os.environ.get("DATABASE_URL")
    if data is None and url:
        return url
    return read_dev_state(data or Path(".meter")).database_url


def redis_url(data: Path | None) -> str:
    """The Redis that is meant. Raises CommandError when no dev server runs there."""
    from command.devserver.state import read_dev_state

    url = os.environ.get("REDIS_URL")
    if data is None and url:
        return url
    return read_dev_state(data or Path(".meter")).redis_url


def ask(question: Coroutine[Any, Any, Result]) -> Result:
    """The answer of Postgres. Raises CommandError when there is none."""
    from meter.ledger.types import StorageUnavailable
    from persistence.errors import RowsRefused

    try:
        return asyncio.run(question)
    except StorageUnavailable as error:
        raise CommandError(f"the database doesn't answer: {error}") from error
    except RowsRefused as error:
        raise CommandError(f"the database refused this: {error}") from error
