"""Chromium without Playwright, whose defaults keep pages from being hidden, slowed or frozen."""

import itertools
import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser.stub import wait_until

Reply = dict[str, Any]


class RawChromium:
    """A browser, driven over its debugging socket."""

    def __init__(self, executable: str, flags: list[str], profile: Path) -> None:
        self._ids = itertools.count(1)
        mode = ["--headless=new", f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        self._process = subprocess.Popen(
            [executable, *flags, *mode, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = profile / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and len(port_file.read_text().split()) == 2, 30)
        port, path = port_file.read_text().split()
        self._open = ExitStack()
        self._socket: ClientConnection = self._open.enter_context(
            connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
        )

    def __enter__(self) -> "RawChromium":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.call("Browser.close")
        self._open.close()
        self._process.wait(30)

    def call(self, method: str, session: str | None = None, **params: Any) -> Reply:
        """Call a method of the protocol, and give its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            reply: Reply = json.loads(self._socket.recv(timeout=60))
            if reply.get("id") == number:
                assert "error" not in reply, reply["error"]
                result: Reply = reply["result"]
                return result

    def open(self, url: str) -> "RawPage":
        """Open a page in front of the others."""
        target = self.call("Target.createTarget", url=url)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = RawPage(self, target, session)
        wait_until(lambda: page.evaluate("document.readyState + location.href") == f"complete{url}")
        return page


class RawPage:
    """One page of a `RawChromium`."""

    def __init__(self, browser: RawChromium, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    def evaluate(self, script: str) -> Any:
        """What a script, or the promise that it makes, comes to."""
        reply = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def call(self, method: str, **params: Any) -> Reply:
        """Call a method on this page."""
        return self._browser.call(method, self._session, **params)

    def to_front(self) -> None:
        """Show this page, and so hide the one in front."""
        self._browser.call("Target.activateTarget", targetId=self._target)
