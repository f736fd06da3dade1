"""Each row of the five systems that came before, asked once through the face that it names: a real
gateway, a real Valkey and a real Postgres."""

from tests.browser.conftest import browser, chromium_path, complaints, context, page, playwright
from tests.http.conftest import (
    api_template,
    empty_valkey,
    own_valkey,
    paid_service,
    service,
    untold,
)

__all__ = [
    "api_template",
    "browser",
    "chromium_path",
    "complaints",
    "context",
    "empty_valkey",
    "own_valkey",
    "page",
    "paid_service",
    "playwright",
    "service",
    "untold",
]
