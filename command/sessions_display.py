"""What `meter sessions` prints."""

import sys
from datetime import UTC, datetime

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from command.limits_display import amount, harmless
from meter.codes import EndReason
from meter.ops_messages import EndedSession, SessionList, SessionRow, encode_body

HEADINGS = ("session", "org", "user", "kind", "began", "recorded", "")
SHORTENED = ("org", "user", "kind")
WIDE = ("kind",)
WIDE_COLUMNS = 100
LARGEST = 5
PIPED_COLUMNS = 200
SILENT_SECONDS = 5


def show_sessions(listing: SessionList, *, as_json: bool) -> None:
    """Print a listing to stdout."""
    if as_json:
        _print_json(listing)
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_COLUMNS)
    console.print(_headline(listing))
    if not listing.sessions:
        return
    now = datetime.now(UTC)
    rows = [_cells(session, now) for session in listing.sessions]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    shown = [
        heading for heading in HEADINGS if heading not in WIDE or console.width >= WIDE_COLUMNS
    ]
    for heading in shown:
        # Names may be shortened where the terminal is narrow; an id has to be whole to be of use.
        whole = heading not in SHORTENED
        justify: JustifyMethod = "right" if heading == "recorded" else "left"
        table.add_column(heading, no_wrap=whole, overflow="ellipsis", justify=justify)
    for row in rows:
        cells = zip(HEADINGS, row, strict=True)
        table.add_row(*[cell for heading, cell in cells if heading in shown])
    console.print(table)
    more = listing.total - len(listing.sessions)
    if more > 0:
        console.print(f"[dim]and {more:,} more that began before; --limit lists more[/]")


def show_ended(session: EndedSession, *, as_json: bool) -> None:
    """Print the end of a session to stdout."""
    if as_json:
        _print_json(session)
        return
    which = f"{session.session_id} of {harmless(session.organization_id)}"
    counted = f"{amount(session.session_seconds)} counted"
    if session.reason == EndReason.ADMIN:
        sys.stdout.write(f"{which}: stopped; {counted}\n")
    else:
        sys.stdout.write(f"{which} had ended already ({session.reason}); {counted}\n")


def _headline(listing: SessionList) -> Text:
    live = f"{listing.total:,} live {'session' if listing.total == 1 else 'sessions'}"
    if listing.organization_id is not None:
        return Text(f"{live} of {harmless(listing.organization_id)}", "bold")
    headline = Text(live, "bold")
    if listing.organizations:
        plural = "organization" if listing.organizations == 1 else "organizations"
        headline.append(f" of {listing.organizations:,} {plural}", "not bold")
        largest = list(listing.by_organization.items())[:LARGEST]
        named = ", ".join(f"{harmless(name)} {count:,}" for name, count in largest)
        rest = ", …" if listing.organizations > len(largest) else ""
        headline.append(f" ({named}{rest})", "not bold dim")
    return headline


def _cells(session: SessionRow, now: datetime) -> list[Text]:
    began = datetime.fromtimestamp(session.started_at, UTC)
    began_at = f"{began:%H:%M:%S}" if began.date() == now.date() else f"{began:%Y-%m-%d %H:%M}"
    silent = max(int(now.timestamp()) - session.last_seen, 0)
    if session.paused:
        state = Text("paused" if silent < SILENT_SECONDS else f"silent {silent} s", "yellow")
    else:
        state = Text("live", "green")
    return [
        Text(session.session_id),
        Text(harmless(session.organization_id)),
        Text(harmless(session.user_id)),
        Text(harmless(session.kind)),
        Text(began_at),
        Text(amount(session.session_seconds)),
        state,
    ]


def _print_json(answer: SessionList | EndedSession) -> None:
    sys.stdout.write(encode_body(answer).decode() + "\n")
