"""The pages and the browser client: files of this package, served as they are.

Every `static/pages/NAME.html` is the page `/NAME`; what stands beside it is below `/pages/`, the
browser client below `/client/`. The files are read once; nothing else of the disk can be reached.

What several pages have is a file of `static/pages/parts`, and a line of a page puts it there:
`<!-- include: NAME -->`, or `<!-- include: NAME | TEXT -->` with the text of its `<!-- text -->`.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STATIC: Final = Path(__file__).parent / "static"
_INCLUDE: Final = re.compile(r"^( *)<!-- include: (\S+)(?: \| (.+))? -->$", re.MULTILINE)

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self' ws: wss:",
        "worker-src 'self'",
        "media-src blob:",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_CONTENT_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# Applications of other origins import the client, and its modules import each other.
_CLIENT_HEADERS: Final = {
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}


def page(file: Path) -> str:
    """A page's HTML, with the parts that it shares in their places."""

    def part(include: re.Match[str]) -> str:
        indent, name, text = include.groups("")
        lines = (file.parent / "parts" / name).read_text("utf-8").splitlines()
        return "\n".join(indent + line.replace("<!-- text -->", text) for line in lines)

    return _INCLUDE.sub(part, file.read_text("utf-8"))


class StaticFile:
    """One file, answered from memory; 304 when the browser's copy is still good."""

    def __init__(self, file: Path, headers: dict[str, str]) -> None:
        self._body = page(file).encode() if file.suffix == ".html" else file.read_bytes()
        etag = f'"{sha256(self._body).hexdigest()[:32]}"'
        self._headers = {**HEADERS, **headers, "etag": etag}
        self._media_type = _CONTENT_TYPES[file.suffix]

    async def __call__(self, request: Request) -> Response:
        known = request.headers.get("if-none-match", "")
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        if self._headers["etag"] in tags:
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers, media_type=self._media_type)


def _routes() -> Iterator[Route]:
    for file in _files(STATIC / "pages"):
        path = f"/{file.stem}" if file.suffix == ".html" else f"/pages/{file.name}"
        yield _route(path, file, {})
    for file in _files(STATIC / "client"):
        yield _route(f"/client/{file.name}", file, _CLIENT_HEADERS)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _CONTENT_TYPES)


def _route(path: str, file: Path, headers: dict[str, str]) -> Route:
    return Route(path, StaticFile(file, headers).__call__, methods=["GET"], name=path)


routes: Final[list[Route]] = list(_routes())
"""The pages, what they load, and the browser client."""
