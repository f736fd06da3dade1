"""The command line itself."""

import subprocess
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from command.devserver.state import DataDirectory, DevState, Pids
from command.errors import CommandError
from command.group import COMMANDS, app
from tests.command.devrun import meter

ROOT = Path(__file__).parent.parent.parent
SECRET = "a secret of at least thirty-two bytes"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*meter(), *arguments],
        env={"PYTHONPATH": str(ROOT)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A data directory as a running dev server has it."""
    pids = Pids(gateway=1, flusher=2, redis=3, postgres=4)
    state = DevState("http://127.0.0.1:8000", "postgresql://", "redis://", SECRET, pids)
    DataDirectory(tmp_path).write_state(state)
    return tmp_path


def test_help_names_every_command() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(name in text and entry.help[:20] in text for name, entry in COMMANDS.items())


@pytest.mark.parametrize("name", ["dev", "gateway", "flusher", "migrate", "token"])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_an_unknown_command_is_said() -> None:
    result = run("nonsense")
    assert result.returncode == 2
    assert "nonsense" in result.stderr


def test_a_token_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    result = run("token", "--data", str(tmp_path), "--user", "ada")
    assert result.returncode == 1
    assert result.stderr.startswith("meter: no dev server runs on")
    assert "make dev" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_token_without_an_organization_is_for_the_personal_account(server: Path) -> None:
    result = CliRunner().invoke(app, ["token", "--data", str(server), "--user", "ada"])
    claims = jwt.decode(result.stdout.strip(), SECRET, ["HS256"])
    assert "org_id" not in claims
    assert claims["sub"] == "ada"
    assert claims["scope"] == "record usage"


def test_an_unknown_scope_is_refused(server: Path) -> None:
    arguments = ["token", "--data", str(server), "--user", "ada", "--scope", "everything"]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, CommandError)
    assert "everything" in error.message


def test_the_processes_of_the_procfile_are_commands() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert {line.split()[-1] for line in lines} <= set(COMMANDS)
