"""`meter sessions`."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command.devserver.state import DataDirectory, DevState, Pids
from command.errors import CommandError
from command.group import app
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.types import SessionKey, SessionState, StoredSession
from tests.ledger.servers import Valkey

ORIGIN = 1_800_000_000
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def sessions(*arguments: str) -> str:
    result = CliRunner().invoke(
        app, ["sessions", *arguments], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0
    return result.stdout


def key(number: int, organization: str) -> SessionKey:
    return SessionKey(organization, f"00000000-0000-4000-9000-{number:012d}")


@pytest.fixture
def redis_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A ledger with 600 live sessions of acme, one of globex, and one that has ended; named by the
    environment."""

    async def fill() -> None:
        ledger = Ledger.connect(server.url)
        keys = [key(number, "acme") for number in range(600)] + [key(600, "globex")]
        for number, each in enumerate(keys):
            state = SessionState(each, "ada [x]\x1b[2J", "interview", ORIGIN + number, revision=1)
            await ledger.restore_session(StoredSession(state, ()))
        await ledger.restore_session(
            StoredSession(
                SessionState(key(601, "globex"), "bob", "interview", ORIGIN, revision=1), ()
            )
        )
        await ledger.close(key(601, "globex"), EndReason.STOPPED)
        await ledger.aclose()

    with Valkey(tmp_path / "valkey") as server:
        asyncio.run(fill())
        monkeypatch.setenv("REDIS_URL", server.url)
        yield server.url


@pytest.mark.integration
def test_live_sessions_are_listed_and_counted_by_organization(redis_url: str) -> None:
    table = sessions("list", "--limit", "2")
    assert "601 live sessions of 2 organizations (acme 600, globex 1)" in table
    rows = [line for line in table.splitlines() if "interview" in line]
    assert [row.split()[0] for row in rows] == [
        key(600, "globex").session_id,
        key(599, "acme").session_id,
    ]
    assert "ada [x]�[2J" in rows[0]
    assert "2027-01-15" in rows[0]
    assert "and 599 more" in table
    assert "1 live session of globex" in sessions("list", "--org", "globex")
    assert sessions("list", "--org", "nobody") == "0 live sessions of nobody\n"


@pytest.mark.integration
def test_programs_get_as_many_as_they_ask_for(redis_url: str) -> None:
    shown = json.loads(sessions("list", "--json", "--limit", "5000"))
    assert (shown["total"], shown["organizations"]) == (601, 2)
    assert [each["started_at"] for each in shown["sessions"]] == [
        ORIGIN + number for number in reversed(range(601))
    ]
    assert shown["next_cursor"] is None
    some = json.loads(sessions("list", "--json", "--org", "acme", "--limit", "550"))
    assert (len(some["sessions"]), some["by_organization"]) == (550, {"acme": 600})
    assert some["next_cursor"] == f"{ORIGIN + 50}.{key(50, 'acme').session_id}"


@pytest.mark.integration
def test_a_session_is_stopped_as_often_as_it_is_asked_for(redis_url: str) -> None:
    mine, ended = key(7, "acme").session_id, key(601, "globex").session_id
    for _ in range(2):
        assert sessions("stop", mine) == f"{mine} of acme: stopped; 0 s counted\n"
    assert "had ended already (stopped)" in sessions("stop", ended)
    assert json.loads(sessions("stop", mine.upper(), "--json"))["reason"] == "admin"
    assert json.loads(sessions("list", "--json"))["total"] == 600
    with pytest.raises(CommandError, match=f"no session {UNKNOWN} is in Redis"):
        sessions("stop", UNKNOWN)


@pytest.mark.integration
def test_a_dev_servers_data_directory_names_its_redis(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    state = DevState("http://127.0.0.1:8000", "postgresql://", redis_url, "secret", Pids())
    DataDirectory(tmp_path).write_state(state)
    assert "601 live sessions" in sessions("list", "--data", str(tmp_path))


@pytest.mark.parametrize(
    ("url", "arguments", "message"),
    [
        ("redis://127.0.0.1:1/0", ("list",), "Redis doesn't answer"),
        ("redis://127.0.0.1:1/0", ("stop", UNKNOWN), "Redis doesn't answer"),
        ("http://example.com", ("list",), "REDIS_URL is no URL"),
        ("redis://127.0.0.1:1/0", ("stop", "all"), "is no session's id"),
        ("redis://127.0.0.1:1/0", ("list", "--org", ""), "can't be empty"),
    ],
)
def test_what_cannot_be_done_is_said(
    monkeypatch: pytest.MonkeyPatch, url: str, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(CommandError, match=message):
        sessions(*arguments)
