"""What `meter dev` prints once everything is up."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from command.devserver.state import DevState
from command.jwt import TokenClaims, sign

DEMO_ORGANIZATION = "demo"
DEMO_USER = "ada"
LINK_SECONDS = 12 * 3600

_PAGES = (
    ("/recorder", "record usage", "record from this browser"),
    ("/usage", "usage", "watch how the account stands"),
    ("/ops", "admin", "see all live sessions, and stop some"),
    ("/analytics", "admin", "see what was used, by whom"),
)


def welcome(state: DevState, data: Path, seconds: float) -> Iterator[str]:
    """The lines, the first of which others wait for. `seconds` is what the start took."""
    yield f"ready {state.http_url}"
    yield f"  all up after {seconds:.1f} s; data and logs in {data}"
    yield ""
    for path, scope, purpose in _PAGES:
        claims = TokenClaims(DEMO_USER, DEMO_ORGANIZATION, scope, LINK_SECONDS)
        yield f"  {purpose}:"
        yield f"    {state.http_url}{path}#token={sign(claims, state.jwt_secret)}"
    yield "  get a token:"
    yield (
        f"    {_this_program()} token --data {shlex.quote(str(data))} --org {DEMO_ORGANIZATION} "
        f'--user {DEMO_USER} --scope "record usage"'
    )
    yield ""
    yield "  Ctrl-C stops everything; what was recorded is kept"


def _this_program() -> str:
    """As the user can type it where they are."""
    program = Path(sys.argv[0])
    if program.name != "meter":
        return "meter"
    relative = os.path.relpath(program)
    return shlex.quote(relative) if not relative.startswith("..") else "meter"
