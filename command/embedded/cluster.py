"""A Postgres data directory while no server runs on it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from command.embedded.binaries import PostgresPrograms
from command.embedded.errors import (
    DirectoryUnusable,
    DiskFull,
    EmbeddedServerError,
    StartFailed,
)
from command.embedded.kept import Account

NAME = "Postgres"
USER = DATABASE = "minute_meter"
# One call for the whole file system, where there is one, instead of one for each of 1,000 files.
SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"


@dataclass(frozen=True)
class Cluster:
    """Makes a data directory, or changes one. `account` owns it (None: this process's user).

    With `durable=False` nothing is synced to disk.
    """

    programs: PostgresPrograms
    account: Account | None
    log: Path
    durable: bool

    def make(self, directory: Path, password: str) -> None:
        """Make `directory` as a whole or not at all."""
        parent = directory.parent
        for stale in parent.glob(f"{directory.name}.new-*"):
            shutil.rmtree(stale, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.new-", dir=parent))
        try:
            self._give_away(fresh)
            self._initdb(fresh, password)
            self.run_sql(fresh, f"CREATE DATABASE {DATABASE}")
            with suppress(FileNotFoundError):
                directory.rmdir()  # an empty one may stand there
            fresh.rename(directory)
        except OSError as error:
            raise DirectoryUnusable(directory, error.strerror or str(error)) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def run_sql(self, directory: Path, statement: str) -> None:
        """Run one statement in the absence of a server."""
        options = [] if self.durable else ["-c", "fsync=off"]
        command = [str(self.programs.postgres), "--single", "-D", str(directory), *options]
        self._run([*command, "postgres"], directory, statement + "\n")

    def _initdb(self, directory: Path, password: str) -> None:
        handle, name = tempfile.mkstemp(prefix=".password-", dir=directory.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(password + "\n")
            self._give_away(Path(name))
            options = [
                f"--pgdata={directory}",
                f"--username={USER}",
                f"--pwfile={name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
            ] + ([f"--sync-method={SYNC_METHOD}"] if self.durable else ["--no-sync"])
            self._run([str(self.programs.initdb), *options], directory)
        finally:
            os.unlink(name)

    def _give_away(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _run(self, command: Sequence[str], directory: Path, text: str = "") -> None:
        done = subprocess.run(
            command,
            cwd=directory,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            user=self.account.uid if self.account else None,
            group=self.account.gid if self.account else None,
            extra_groups=[] if self.account else None,
            # Out of the terminal's process group: Ctrl-C is the owner's to pass on.
            start_new_session=True,
        )
        output = done.stdout + done.stderr
        # A single-user server gives 0 even when its statement failed.
        if done.returncode != 0 or "ERROR:" in output:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(output)
            raise failure(output, directory, self.log)


def failure(text: str, directory: Path, log: Path) -> EmbeddedServerError:
    """What the programs' output says went wrong."""
    if "No space left on device" in text:
        return DiskFull(NAME, directory)
    lines = [line for line in text.splitlines() if line.strip()]
    telling = ("FATAL:", "PANIC:", "ERROR:", "error:")
    found = [line for line in lines if any(word in line for word in telling)]
    return StartFailed(NAME, (found or lines or ["it ended at once"])[-1].strip(), log)
