"""A ledger of a test's own, and sessions that count in it: what audits look at."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meter.ledger.driver import Ledger
from meter.ledger.types import CountItem, OpenRequest, Rules, SessionKey
from persistence import auditor, ledger_audit
from persistence.storage import PostgresStorage
from tests.ledger.servers import Valkey
from tests.persistence.builders import session_id


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks at an account, and the turns of a round, are apart for less long than in life."""
    monkeypatch.setattr(ledger_audit, "LOOK_APART_SECONDS", 0.05)
    monkeypatch.setattr(auditor, "TURN_SECONDS", 0.02)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    with Valkey(tmp_path / "valkey") as valkey:
        # Sessions begin now; so that they can count, seconds ahead of the clock are allowed.
        ledger = Ledger.connect(valkey.url, Rules(future_seconds=100))
        yield ledger
        await ledger.aclose()


async def record(
    ledger: Ledger,
    storage: PostgresStorage,
    seconds: int,
    user: str = "user_1",
    organization: str = "org_1",
) -> SessionKey:
    """A live session that counts so many seconds."""
    key = SessionKey(organization, session_id())
    for with_live in (True, False):
        figures = await storage.load_account(
            organization, user, int(time.time()), with_live=with_live
        )
        await ledger.seed_account(figures)
    await ledger.open(OpenRequest(key, user, "recording", 1, create=True))
    await ledger.count([CountItem(key, ((0, seconds - 1),))])
    return key
