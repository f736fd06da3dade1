"""The page against everything that is real: `meter dev`, a gateway that dies, and the rows."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.sync_api import Page, expect

from tests.browser.seen import Seen
from tests.browser.stub import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(240)]

# When a button was pressed, in seconds of the page's clock: before anything comes of it.
NOTE_CLICKS = """() => {
  globalThis.pressed = {};
  const note = ({ target }) => {
    pressed[target.closest("button")?.dataset.testid] = performance.now() / 1000;
  };
  addEventListener("click", note, { capture: true });
}"""
METER = [sys.executable, "-m", "command.main"]
ROWS = """
select extract(epoch from minute_timestamp)::bigint as minute, seconds_recorded
from usage_tracking where organization_id = $1 order by minute_timestamp
"""


@dataclass
class DevServer:
    """A running `meter dev`."""

    data: Path

    @property
    def state(self) -> dict[str, Any]:
        """What it tells other programs."""
        state: dict[str, Any] = json.loads((self.data / "dev.json").read_text())
        return state

    def token(self, org: str) -> str:
        """A token that may record."""
        command = [*METER, "token", "--data", str(self.data), "--org", org, "--user", "reader"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def rows(self, org: str) -> list[tuple[int, int]]:
        """Minute (epoch seconds) and its seconds, of an organization."""

        async def fetch() -> list[tuple[int, int]]:
            connection = await asyncpg.connect(self.state["database_url"])
            try:
                return [(row[0], row[1]) for row in await connection.fetch(ROWS, org)]
            finally:
                await connection.close()

        # Playwright has a loop running in this thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, fetch()).result()


def wait_until_ready(process: "subprocess.Popen[bytes]", log: Path, line: str) -> None:
    """Return once the server is up; fail with what it said when it gave up."""
    wait_until(lambda: line in log.read_text() or process.poll() is not None, 60)
    assert process.poll() is None, log.read_text()


@pytest.fixture
def dev_server() -> Iterator[DevServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = Path(tempfile.mkdtemp(prefix="minute-meter-dev-"))
    data.chmod(0o711)
    log = (data / "output.log").open("w")
    command = [*METER, "dev", "--port", str(port), "--data", str(data / "meter")]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        server = DevServer(data / "meter")
        wait_until_ready(process, data / "output.log", f"ready http://127.0.0.1:{port}")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()
        shutil.rmtree(data, ignore_errors=True)


def shown(page: Page, test_id: str) -> int:
    return int(page.get_by_test_id(test_id).inner_text())


def test_a_gateway_killed_in_mid_recording_costs_no_second(
    page: Page, dev_server: DevServer
) -> None:
    org = "org_end_to_end"
    page.goto(f"{dev_server.state['http_url']}/recorder#token={dev_server.token(org)}")
    page.evaluate(NOTE_CLICKS)
    phase = Seen(page, "phase")
    page.get_by_test_id("record").click()
    shown_at = phase.wait_for("Recording")
    began = time.monotonic()

    page.wait_for_timeout(20_000)
    killed = dev_server.state["pids"]["gateway"]
    os.kill(killed, signal.SIGKILL)
    connection = page.get_by_test_id("connection-text")
    expect(connection).not_to_have_text("Connected")
    expect(connection).to_have_text("Connected", timeout=60_000)
    assert dev_server.state["pids"]["gateway"] != killed

    page.wait_for_timeout((66 - (time.monotonic() - began)) * 1000)
    page.get_by_test_id("stop").click()
    expect(page.get_by_test_id("phase")).to_have_text("Recorded")

    counted = shown(page, "seconds-counted")
    pressed = page.evaluate("pressed")
    assert pressed["stop"] - shown_at - 1.5 <= counted <= pressed["stop"] - pressed["record"] + 1.5
    stopped = time.monotonic()
    wait_until(lambda: sum(seconds for _, seconds in dev_server.rows(org)) == counted)
    print(f"{counted} seconds; all in Postgres {time.monotonic() - stopped:.1f} s after the end")

    rows = dev_server.rows(org)
    minutes = [minute for minute, _ in rows]
    assert minutes == list(range(minutes[0], minutes[-1] + 60, 60)), (
        "one row a minute, none missing"
    )
    assert all(seconds == 60 for _, seconds in rows[1:-1])
    assert rows[0][1] <= 60
