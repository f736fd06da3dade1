"""The Valkey and the Postgres of a dev server: embedded ones, or those named by environment."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from command.devserver.console import DevConsole
from command.devserver.schema import SchemaStamp
from command.devserver.state import DataDirectory
from command.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
from command.embedded.kept import Lifeline
from command.embedded.server import EmbeddedServer

RETRY_SECONDS = 2.0


class Servers:
    """What of the two is ours is started, kept running and stopped; the other is just named."""

    def __init__(
        self, directory: DataDirectory, environment: Mapping[str, str], console: DevConsole
    ) -> None:
        self._console = console
        self._redis_url = environment.get("REDIS_URL") or None
        self._database_url = environment.get("DATABASE_URL") or None
        self.valkey = EmbeddedValkey(
            directory.path, log=directory.logs / "valkey.log", progress=console.progress
        )
        self.postgres = EmbeddedPostgres(
            directory.path, log=directory.logs / "postgres.log", progress=console.progress
        )
        self._ours: list[EmbeddedServer] = []
        if self._redis_url is None:
            self._ours.append(self.valkey)
        if self._database_url is None:
            self._ours.append(self.postgres)
        self._retry_at = 0.0
        self._stamp = SchemaStamp(directory.path)

    @property
    def redis_url(self) -> str:
        """For REDIS_URL."""
        return self._redis_url or self.valkey.url

    @property
    def database_url(self) -> str:
        """For DATABASE_URL."""
        return self._database_url or self.postgres.url

    @property
    def lifelines(self) -> list[Lifeline]:
        """To be held by processes that the servers have to outlive."""
        return [server.lifeline for server in self._ours]

    def start(self) -> None:
        """Start what is ours, side by side. Raises EmbeddedServerError."""
        if not self._ours:
            return
        self._console.progress("starting " + " and ".join(server.name for server in self._ours))
        with ThreadPoolExecutor(len(self._ours)) as pool:
            starts = [pool.submit(server.start) for server in self._ours]
        for start in starts:
            start.result()

    def schema_is_current(self) -> bool:
        """Whether our Postgres is known to have this program's schema."""
        if self._database_url is not None or self.postgres.is_new:
            self._stamp.forget()
            return False
        return self._stamp.is_current()

    def note_schema(self) -> None:
        """Migrations have been applied: the next start knows."""
        if self._database_url is None:
            self._stamp.write()

    def supervise(self) -> bool:
        """Start again what died, at its old address. True when a process id has changed."""
        dead = [server for server in self._ours if not server.running]
        if not dead or time.monotonic() < self._retry_at:
            return False
        for server in dead:
            self._console.problem(f"{server.name} ended; it is started again")
            try:
                server.restart()
            except EmbeddedServerError as error:
                self._console.problem(str(error))
                self._retry_at = time.monotonic() + RETRY_SECONDS
        return True

    def ask_to_stop(self) -> None:
        """Send the order to stop; a second one hurries."""
        for server in self._ours:
            server.ask_to_stop()

    def wait(self, seconds: float) -> bool:
        """Whether all have ended, each within `seconds`."""
        return all([server.wait(seconds) for server in self._ours])

    def close(self) -> None:
        """End what has not ended yet."""
        for server in self._ours:
            server.stop()
