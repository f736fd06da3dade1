"""Whom Postgres runs as, and where that user can reach its data.

Postgres refuses to run as root. So as root it runs as a user without privileges, who must be able
to reach the data directory and the server's files. Where they lie out of that user's reach (below
a home directory, say), a folder of ours under the system's state directory serves instead. No
permission of a directory that we did not make is ever changed.
"""

import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from command.embedded.errors import DirectoryUnusable, NoUnprivilegedUser
from command.embedded.files import write_private
from command.embedded.kept import Account

# `nobody` first: a `postgres` user belongs to the system's own Postgres, whose files it may read.
CANDIDATES = ("nobody", "postgres", "daemon")
FOLDER = "minute-meter"


def is_root() -> bool:
    """Whether this process runs as root."""
    return os.geteuid() == 0


def unprivileged_account() -> Account:
    """The user that servers run as when we are root. Raises NoUnprivilegedUser."""
    for name in CANDIDATES:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(name, entry.pw_uid, entry.pw_gid)
    raise NoUnprivilegedUser(CANDIDATES)


def account_of_owner(path: Path) -> Account | None:
    """The user `path` belongs to; None for root and for users without a name here."""
    owner = path.stat().st_uid
    with suppress(KeyError):
        entry = pwd.getpwuid(owner)
        if owner != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    return None


def can_enter(account: Account, directory: Path) -> bool:
    """Whether `account` can go into `directory`: asked of the system, for it knows ACLs too."""
    return _as_account(account, 'cd -- "$1"', directory)


def can_execute(account: Account, program: Path) -> bool:
    """Whether `account` can run `program`."""
    return _as_account(account, 'test -x "$1" && test -r "$1"', program)


def _as_account(account: Account, test: str, path: Path) -> bool:
    return (
        subprocess.run(
            ["/bin/sh", "-c", test, "sh", str(path)],
            cwd="/",
            env={},
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
        == 0
    )


def state_folder(account: Account) -> Path:
    """Our own folder that `account` can reach, made when it is missing. Raises DirectoryUnusable.

    Only root asks for it.
    """
    bases = dict.fromkeys((Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir())))
    for base in bases:
        folder = base / FOLDER
        try:
            with suppress(FileExistsError):
                folder.mkdir()
                folder.chmod(0o755)
        except OSError:
            continue
        if _is_ours_alone(folder) and can_enter(account, folder):
            return folder
    tried = ", ".join(str(base) for base in bases)
    raise DirectoryUnusable(bases.popitem()[0], f"none of {tried} is reachable by {account.name}")


def _is_ours_alone(folder: Path) -> bool:
    """In a shared temporary directory somebody else may have been there first."""
    entry = folder.lstat()
    return (
        stat.S_ISDIR(entry.st_mode)
        and entry.st_uid == os.geteuid()
        and not entry.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def place_for(data: Path, name: str, account: Account) -> Path:
    """Where `account` can keep `data / name`: there, or in the state folder.

    The choice is noted in `data`, so that it stays the same when the directory is moved.
    """
    direct = data / name
    if direct.exists() or can_enter(account, data):
        return direct
    note = data / f"{name}.location"
    with suppress(FileNotFoundError):
        noted = Path(note.read_text(encoding="utf-8").strip())
        if noted.is_dir():
            return noted
    key = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    # The random part: a data directory that was deleted and made again doesn't get old data.
    place = Path(tempfile.mkdtemp(prefix=f"{name}-{key}-", dir=state_folder(account)))
    place.chmod(0o711)
    write_private(place / "belongs-to", f"{data}\n")
    write_private(note, f"{place / name}\n")
    return place / name
