"""Whom Postgres runs as, and where its data lie."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from command.embedded import EmbeddedPostgres, NoUnprivilegedUser, accounts, binaries
from command.embedded.kept import Account

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about running as root")


@pytest.fixture
def closed(data: Path) -> Path:
    """A data directory below one that only root can enter."""
    data.mkdir()
    data.chmod(0o700)
    return data / "data"


def permissions(path: Path) -> list[int]:
    return [part.stat().st_mode for part in (path, *path.parents) if part.exists()]


@as_root
def test_postgres_runs_as_somebody_else_in_the_data_directory(data: Path) -> None:
    server = EmbeddedPostgres(data, durable=False)
    server.start()
    assert server.pid is not None
    assert psutil.Process(server.pid).uids().effective != 0
    assert server.directory == data / "postgres"
    server.stop()


@as_root
def test_an_unreachable_data_directory_is_replaced_and_left_as_it_is(closed: Path) -> None:
    before = permissions(closed)
    server = EmbeddedPostgres(closed, durable=False)
    server.start()
    place = server.directory
    try:
        assert closed not in place.parents
        assert (closed / "postgres.location").read_text().strip() == str(place)
        assert (place.parent / "belongs-to").read_text().strip() == str(closed)
        assert permissions(closed)[1:] == before
        server.stop()
        again = EmbeddedPostgres(closed, durable=False)
        again.start()
        assert again.directory == place
        assert not again.is_new
        again.stop()
    finally:
        server.remove()
    assert not place.parent.exists()


@as_root
def test_a_data_directory_made_anew_gets_no_old_data(closed: Path) -> None:
    first = EmbeddedPostgres(closed, durable=False)
    first.start()
    first.stop()
    shutil.rmtree(closed)
    second = EmbeddedPostgres(closed, durable=False)
    second.start()
    try:
        assert second.is_new
        assert second.directory != first.directory
    finally:
        second.remove()
        first.remove()


@as_root
def test_programs_out_of_reach_are_copied_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.mkdir()
    monkeypatch.setattr(binaries, "state_folder", lambda _account: data)
    reachable = accounts.can_execute
    monkeypatch.setattr(
        binaries, "can_execute", lambda who, what: data in what.parents and reachable(who, what)
    )
    account = accounts.unprivileged_account()
    programs = binaries.find_programs(account)
    assert data in programs.postgres.parents
    assert reachable(account, programs.postgres)
    copied_at = programs.postgres.stat().st_ctime_ns
    server = EmbeddedPostgres(data / "data", durable=False)
    server.start()
    assert server.pid is not None
    assert psutil.Process(server.pid).exe() == str(programs.postgres)
    server.stop()
    assert programs.postgres.stat().st_ctime_ns == copied_at


@as_root
def test_a_shared_folder_that_somebody_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = accounts.unprivileged_account()
    theirs = tmp_path / "minute-meter"
    theirs.mkdir()
    os.chown(theirs, account.uid, account.gid)
    assert not accounts._is_ours_alone(theirs)
    link = tmp_path / "link"
    link.symlink_to("/")
    assert not accounts._is_ours_alone(link)


def test_a_system_without_a_suitable_user_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "CANDIDATES", ("no-such-user",))
    with pytest.raises(NoUnprivilegedUser, match="no-such-user"):
        accounts.unprivileged_account()


@as_root
def test_an_ordinary_user_runs_both(data: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid)
    python = interpreter_for(account)
    data.mkdir()
    os.chown(data, account.uid, account.gid)
    facts = subprocess.run(
        [str(python), "-c", _START_AND_STOP, str(data)],
        cwd=data,
        env={"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))},
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        capture_output=True,
        check=False,
    )
    assert facts.returncode == 0, facts.stderr.decode()
    assert set(json.loads(facts.stdout)) == {account.uid}
    assert (data / "postgres").stat().st_uid == account.uid


def interpreter_for(account: Account) -> Path:
    """A Python like this one that `account` can run; skips the test when there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (Path(sys.executable), Path("/usr/bin") / version):
        if candidate.exists() and accounts.can_execute(account, candidate):
            break
    else:
        pytest.skip(f"no {version} that {account.name} can run: this one lies out of its reach")
    for needed in (ROOT, Path(psutil.__file__).parent):
        if not accounts.can_enter(account, needed):
            pytest.skip(f"{account.name} cannot reach {needed}")
    return candidate


_START_AND_STOP = """
import json, sys, psutil
from pathlib import Path
from command.embedded import EmbeddedPostgres, EmbeddedValkey
servers = [kind(Path(sys.argv[1]), durable=False) for kind in (EmbeddedValkey, EmbeddedPostgres)]
for server in servers:
    server.start()
print(json.dumps([psutil.Process(server.pid).uids().real for server in servers]))
for server in servers:
    server.stop()
"""
