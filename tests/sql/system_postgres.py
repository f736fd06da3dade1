"""A Postgres 15 of the system, for the tests of the SQL: the oldest version that is supported."""

import os
import subprocess
from pathlib import Path

from command.embedded.accounts import is_root, unprivileged_account
from command.embedded.kept import Account

VARIABLE = "METER_TEST_POSTGRES_BIN"
DEBIAN = Path("/usr/lib/postgresql/15/bin")
SKIP = (
    f"no PostgreSQL 15: install the package postgresql-15, or name its programs' place: {VARIABLE}"
)


def programs() -> Path | None:
    """The directory with `initdb` and `pg_ctl`; None where there is no such Postgres."""
    named = os.environ.get(VARIABLE)
    place = Path(named) if named else DEBIAN
    return place if (place / "pg_ctl").exists() else None


class SystemPostgres:
    """A server with its data in a directory of its own. `url` is a superuser's."""

    def __init__(self, bin_directory: Path, data: Path, port: int) -> None:
        self._bin = bin_directory
        self._data = data
        self._account: Account | None = unprivileged_account() if is_root() else None
        self._port = port

    @property
    def url(self) -> str:
        """For DATABASE_URL."""
        return f"postgresql://minute_meter@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Make the cluster and run it."""
        self._data.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self._data, self._account.uid, self._account.gid)
        self._run(
            "initdb", "--username=minute_meter", "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--no-sync",
        )  # fmt: skip
        options = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        joined = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        self._run("pg_ctl", "start", "-w", "-o", joined, "-l", str(self._data / "log"))

    def stop(self) -> None:
        """Stop it at once."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def _run(self, program: str, *arguments: str) -> None:
        account = self._account
        subprocess.run(
            [str(self._bin / program), "-D", str(self._data), *arguments],
            cwd="/",
            check=True,
            stdin=subprocess.DEVNULL,
            # Not a pipe: the server would hold it open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
