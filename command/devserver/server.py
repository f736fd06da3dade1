"""Starts, watches and stops what a Minute Meter consists of."""

import http.client
import importlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from command.devserver.child import Child
from command.devserver.console import DevConsole
from command.devserver.servers import Servers
from command.devserver.signals import StopOrders
from command.devserver.state import DataDirectory, DevState, Pids
from command.devserver.welcome import welcome
from command.embedded.files import LOOPBACK, port_is_free
from command.errors import CommandError

READY_SECONDS = 60.0
MIGRATE_SECONDS = 300.0
POLL_SECONDS = 0.1
# A child that dies so often before it was ever ready will not be any time soon.
DEATHS_BEFORE_READY = 3


@dataclass(frozen=True)
class DevOptions:
    """`meter_command` starts a `meter`, and is followed by a command's name."""

    port: int
    data: Path
    meter_command: Sequence[str]


class Stoppable(Protocol):
    """Something that ends some time after it was asked to."""

    def ask_to_stop(self) -> None:
        """The second time, hurry."""

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""


class _StopEarly(Exception):
    """The order to stop came during the start."""


class DevServer:
    """One `meter dev`."""

    def __init__(self, options: DevOptions, console: DevConsole) -> None:
        self._options = options
        self._console = console
        self._directory = DataDirectory(options.data)
        self._orders = StopOrders()
        self._url = f"http://{LOOPBACK}:{options.port}"

    def run(self) -> None:
        """Run until told to stop. Raises CommandError and EmbeddedServerError."""
        with self._orders:
            self._directory.open()
            try:
                self._run()
            finally:
                self._directory.close()

    def _run(self) -> None:
        command = self._options.meter_command
        self._migrate = Child("migrate", command, self._directory, self._console)
        self._gateway = Child("gateway", command, self._directory, self._console)
        self._flusher = Child("flusher", command, self._directory, self._console)
        self._servers = Servers(self._directory, os.environ, self._console)
        began = time.monotonic()
        try:
            with self._console.starting():
                self._start()
            self._console.started()
            self._announce(time.monotonic() - began)
            self._watch()
        except _StopEarly:
            pass  # an order to stop, and that is what comes next
        finally:
            self._console.started()
            self._stop()

    def _start(self) -> None:
        for child in (self._gateway, self._flusher, self._migrate):
            if child.clear_leftover():
                self._console.progress(f"ended the {child.name} that an earlier run had left")
        if not port_is_free(self._options.port):
            raise CommandError(
                f"port {self._options.port} is in use; stop what uses it, or choose another "
                "with --port"
            )
        self._servers.start()
        environment = self._environment()
        lifelines = self._servers.lifelines
        self._migrate.start({**environment, "METER_MIGRATE_DEMO": "true"}, lifelines)
        was_current = self._servers.schema_is_current()
        if not was_current:
            self._console.progress("applying migrations")
            self._await_migrations()
        self._console.progress("starting the gateway and the flusher")
        self._flusher.start(environment, lifelines)
        self._gateway.start(environment, [self._flusher.lifeline, *lifelines])
        importlib.import_module("jwt")  # needed for the links, and now there is time
        self._await_ready()
        if was_current:
            self._await_migrations()
        self._servers.note_schema()

    def _environment(self) -> Mapping[str, str]:
        return {
            "DATABASE_URL": self._servers.database_url,
            "REDIS_URL": self._servers.redis_url,
            "HOST": LOOPBACK,
            "PORT": str(self._options.port),
            "METER_JWT_SECRET": self._directory.jwt_secret(),
            "METER_ALLOWED_ORIGINS": os.environ.get("METER_ALLOWED_ORIGINS", ""),
            "PYTHONUNBUFFERED": "1",
        }

    def _await_migrations(self) -> None:
        migrate = self._migrate
        deadline = time.monotonic() + MIGRATE_SECONDS
        while (code := migrate.exit_code()) is None:
            if time.monotonic() > deadline:
                raise CommandError(f"`meter migrate` takes too long; its log: {migrate.log}")
            self._pause(0.02)
        migrate.wait(0)
        if code != 0:
            migrate.show_log()
            raise CommandError(
                f"`meter migrate` failed: {migrate.last_words()} (its log: {migrate.log})"
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _is_ready(self._options.port):
            self._supervise()
            for child in (self._gateway, self._flusher):
                if child.deaths >= DEATHS_BEFORE_READY:
                    raise CommandError(
                        f"the {child.name} keeps ending: {child.last_words()} "
                        f"(its log: {child.log})"
                    )
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{self._url}/readyz did not answer 200 within {READY_SECONDS:.0f} s; the "
                    f"logs are in {self._directory.logs}"
                )
            self._pause(0.05)

    def _announce(self, seconds: float) -> None:
        self._write_state()
        self._console.line("\n".join(welcome(self._state(), self._options.data, seconds)))

    def _watch(self) -> None:
        while self._orders.count == 0:
            if self._supervise():
                self._write_state()
            self._orders.wait(POLL_SECONDS)

    def _supervise(self) -> bool:
        parts = (self._servers, self._flusher, self._gateway)
        return any([part.supervise() for part in parts])

    def _stop(self) -> None:
        self._console.line("stopping: another Ctrl-C hurries")
        # Each may still need the ones after it: sessions end, their seconds are flushed.
        for part in (self._migrate, self._gateway, self._flusher, self._servers):
            self._end(part)
            part.close()
        for child in (self._gateway, self._flusher):
            child.show_log()
        self._directory.forget_state()
        self._console.line("stopped")

    def _end(self, part: Stoppable) -> None:
        part.ask_to_stop()
        orders = self._orders.count
        while not part.wait(POLL_SECONDS):
            if self._orders.count > orders:
                orders = self._orders.count
                part.ask_to_stop()

    def _pause(self, seconds: float) -> None:
        self._orders.wait(seconds)
        if self._orders.count:
            raise _StopEarly

    def _write_state(self) -> None:
        self._directory.write_state(self._state())

    def _state(self) -> DevState:
        return DevState(
            http_url=self._url,
            database_url=self._servers.database_url,
            redis_url=self._servers.redis_url,
            jwt_secret=self._directory.jwt_secret(),
            pids=Pids(
                gateway=self._gateway.pid,
                flusher=self._flusher.pid,
                redis=self._servers.valkey.pid,
                postgres=self._servers.postgres.pid,
            ),
        )


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
