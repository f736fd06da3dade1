"""What the embedded servers have in common: a port, a password and a kept process."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from command.embedded.errors import PortInUse
from command.embedded.files import free_port, port_is_free
from command.embedded.kept import KeptProcess, Lifeline

START_SECONDS = 60.0
PROGRESS_EVERY_SECONDS = 2.0
POLL_SECONDS = 0.01
PORT_TRIES = 5

Progress = Callable[[str], None]


class EmbeddedServer(ABC):
    """A server that this process owns. Subclasses say how to prepare and to start it.

    Start and stop it from one thread at a time. It ends when this process ends, however that
    happens; processes that hold its `lifeline` are waited for first.
    """

    name: str

    def __init__(self, port: int | None, log: Path, progress: Progress | None) -> None:
        self.lifeline = Lifeline()
        self._wanted_port = port
        self._port = port
        self._log = log
        self._progress = progress or (lambda _line: None)
        self._password = ""
        self._process: KeptProcess | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, with the password."""

    @property
    def port(self) -> int:
        """The port it listens on, known from the first start on."""
        if self._port is None:
            raise RuntimeError("no port is chosen before the first start")
        return self._port

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Start it and wait until it serves. Raises EmbeddedServerError."""
        self._prepare()
        if self._wanted_port is None:
            self._start_on_any()
        else:
            self._port = self._wanted_port
            self._start_if_free(self._port)

    def restart(self) -> None:
        """Start it again, at the address it had. Raises EmbeddedServerError."""
        self._prepare()
        self._start_if_free(self.port)

    def ask_to_stop(self) -> None:
        """Send the order to stop; a second one hurries. Returns at once."""
        if self._process is not None:
            self._process.ask_to_stop()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        return self._process is None or self._process.wait(seconds)

    def stop(self) -> None:
        """Stop it in good order and wait for that. Does nothing when it does not run."""
        if self._process is not None:
            self._process.stop()
        self.lifeline.close()

    def kill(self) -> None:
        """SIGKILL, as a crash would end it; `start` and `restart` find its data."""
        if self._process is not None:
            self._process.kill()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before it can start."""

    @abstractmethod
    def _start_on(self, port: int) -> None:
        """Start it at this port. Raises PortInUse when somebody else was quicker."""

    def _start_on_any(self) -> None:
        for _ in range(PORT_TRIES - 1):
            self._port = free_port()
            # Somebody may take the free port before the server does.
            with suppress(PortInUse):
                self._start_on(self._port)
                return
        self._port = free_port()
        self._start_on(self._port)

    def _start_if_free(self, port: int) -> None:
        # A leftover of a killed run is ended by the start, and may hold the port until then.
        self._clear_leftover()
        if not port_is_free(port):
            raise PortInUse(self.name, port)
        self._start_on(port)

    @abstractmethod
    def _clear_leftover(self) -> None:
        """End what a killed run has left running."""

    def _launch(self, process: KeptProcess) -> None:
        self._process = process
        process.start()
        self.lifeline = process.lifeline

    def _await(self, process: KeptProcess, serves: Callable[[], bool], doing: str) -> bool:
        """False when the process ended, or START_SECONDS passed, before `serves` held."""
        began = time.monotonic()
        next_progress = began + PROGRESS_EVERY_SECONDS
        while (now := time.monotonic()) < began + START_SECONDS:
            if serves():
                return True
            if process.exit_code() is not None:
                process.wait(0)
                return False
            if now >= next_progress:
                next_progress = now + PROGRESS_EVERY_SECONDS
                self._progress(f"{self.name} is {doing} ({now - began:.0f} s)")
            time.sleep(POLL_SECONDS)
        process.stop()
        return False
