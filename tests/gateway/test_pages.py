"""What the pages and the browser client's files are served with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette

from gateway import pages


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(Starlette(routes=pages.routes))
    async with AsyncClient(transport=transport, base_url="http://meter.test") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/recorder", "text/html; charset=utf-8"),
        ("/usage", "text/html; charset=utf-8"),
        ("/ops", "text/html; charset=utf-8"),
        ("/analytics", "text/html; charset=utf-8"),
        ("/pages/recorder.css", "text/css; charset=utf-8"),
        ("/pages/recorder.js", "text/javascript; charset=utf-8"),
        ("/pages/icon.svg", "image/svg+xml"),
        ("/client/minute-meter.js", "text/javascript; charset=utf-8"),
        ("/client/minute-meter.worker.js", "text/javascript; charset=utf-8"),
        ("/client/watch.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_serves_with_the_right_type_and_headers(
    client: AsyncClient, path: str, content_type: str
) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["permissions-policy"].startswith("microphone=(self)")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert (await client.head(path)).status_code == 200


async def test_the_copy_of_a_browser_is_still_good(client: AsyncClient) -> None:
    etag = (await client.get("/recorder")).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        response = await client.get("/recorder", headers={"if-none-match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    changed = await client.get("/recorder", headers={"if-none-match": '"other"'})
    assert changed.status_code == 200


async def test_only_the_client_is_for_other_origins(client: AsyncClient) -> None:
    shared = await client.get("/client/minute-meter.js")
    assert shared.headers["access-control-allow-origin"] == "*"
    page = await client.get("/recorder")
    assert "access-control-allow-origin" not in page.headers


@pytest.mark.parametrize(
    "path",
    [
        "/client/../pages.py",
        "/client/%2e%2e/pages.py",
        "/pages/recorder.html",
        "/pages/parts/head.html",
        "/pages/head.html",
        "/head",
        "/client/",
    ],
)
async def test_nothing_else_is_served(client: AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_pages_have_their_shared_parts_in_their_places(client: AsyncClient) -> None:
    titles = {"recorder": "Record", "usage": "Usage", "ops": "Operations"}
    for name, title in {**titles, "analytics": "Analytics"}.items():
        text = (await client.get(f"/{name}")).text
        assert f"    <title>{title} · Minute Meter</title>\n" in text
        assert text.count(' id="token-form"') == text.count(' id="connection"') == 1
        assert "<!--" not in text


def test_every_shared_part_is_used_by_several_pages() -> None:
    sources = [file.read_text() for file in (pages.STATIC / "pages").glob("*.html")]
    for part in (pages.STATIC / "pages/parts").iterdir():
        uses = [source for source in sources if f"<!-- include: {part.name} " in source]
        assert len(uses) > 1, part.name


async def test_every_module_that_is_imported_is_served(client: AsyncClient) -> None:
    modules = [file for file in pages.STATIC.rglob("*.js") if imports(file)]
    assert modules != []
    for file in modules:
        for address in imports(file):
            path = f"/{file.parent.name}/{address.removeprefix('./')}"
            response = await client.get(address if address.startswith("/") else path)
            assert response.status_code == 200, f"{file.name} imports {address}"


def imports(file: Path) -> list[str]:
    """What a module's import statements name."""
    lines = file.read_text().splitlines()
    return [line.split('"')[1] for line in lines if line.startswith(("import ", "} from "))]
