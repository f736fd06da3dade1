"""`meter sessions list` and `meter sessions stop`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from command.cli import new_app
from command.errors import CommandError
from command.stores import redis_url

if TYPE_CHECKING:
    from meter.ledger.listing import Census, SessionPage
    from meter.ledger.live import LiveSessions

app = new_app()

Result = TypeVar("Result")

Data = Annotated[
    Path | None,
    typer.Option(
        help="The data directory of a running dev server. Without it: REDIS_URL, or else the dev "
        "server on .meter."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback()
def sessions() -> None:
    """Live sessions of all organizations: list them, stop one."""


@app.command("list")
def list_(
    org: Annotated[
        str | None, typer.Option(metavar="ORG", help="Only this organization's.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="List the last N to begin.")] = 50,
    json: Json = False,
    data: Data = None,
) -> None:
    """List live sessions, those that began last first, and how many organizations have."""
    if org == "":
        raise CommandError("an organization's id can't be empty", 2)
    page, census = _ask(data, lambda live: _pages(live, org, limit))

    from command.sessions_display import show_sessions
    from meter.ledger.listing import PageRequest
    from meter.ops_messages import SessionList, session_list

    listing = session_list(SessionList, PageRequest(org, limit), page, census)
    show_sessions(listing, as_json=json)


@app.command()
def stop(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session's id.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """Stop a session: its recorder is told, and closed within 2 seconds.

    One that has ended stays as it is, so that this may be repeated.
    """
    try:
        known_as = str(UUID(session_id))
    except ValueError as error:
        raise CommandError(f"{session_id} is no session's id: those are UUIDs", 2) from error
    state = _ask(data, lambda live: live.stop(known_as))
    if state is None:
        raise CommandError(
            f"no session {known_as} is in Redis: it ended a while ago, or never began"
        )

    from command.sessions_display import show_ended
    from meter.ops_messages import EndedSession, ended

    show_ended(ended(EndedSession, state), as_json=json)


async def _pages(
    live: "LiveSessions", org: str | None, limit: int
) -> "tuple[SessionPage, Census | None]":
    """As many pages as it takes, as one."""
    from meter.ledger.listing import MAX_PAGE, PageRequest, SessionPage

    census = await live.census() if org is None else None
    page = await live.page(PageRequest(org, min(limit, MAX_PAGE)))
    found, total = list(page.sessions), page.total
    while page.next is not None and len(found) < limit:
        most = min(limit - len(found), MAX_PAGE)
        page = await live.page(PageRequest(org, most, page.next))
        found += page.sessions
    return SessionPage(total, tuple(found), page.next), census


def _ask(data: Path | None, question: "Callable[[LiveSessions], Awaitable[Result]]") -> Result:
    url = redis_url(data)

    from meter.ledger.driver import Ledger
    from meter.ledger.live import LiveSessions
    from meter.ledger.types import LedgerUnavailable

    async def asked() -> Result:
        try:
            ledger = Ledger.connect(url)
        except ValueError as error:
            raise CommandError("REDIS_URL is no URL of a Redis or Valkey", 2) from error
        try:
            return await question(LiveSessions(ledger))
        finally:
            await ledger.aclose()

    try:
        return asyncio.run(asked())
    except LedgerUnavailable as error:
        raise CommandError(f"Redis doesn't answer: {error}") from error
