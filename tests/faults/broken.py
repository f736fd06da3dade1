"""Breaks the code on purpose, to see whether the oracle notices: `python -m tests.faults --broken
"settled before the commit"` runs the short run on a copy of the source in which it is so."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.faults.programs import REPOSITORY
from tests.faults.run import Outcome, Run
from tests.faults.short import short

MOST_ROUNDS = 5
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules")


@dataclass(frozen=True)
class Patch:
    """`old`, which is in the file once, becomes `new`."""

    path: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Raises ValueError when it isn't there, or more than once."""
        file = root / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} has {text.count(self.old)} times: {self.old}")
        file.write_text(text.replace(self.old, self.new))


_LIBRARY = "meter/ledger/library/"

BREAKAGES = {
    "counted without the bitmap": (
        Patch(
            f"{_LIBRARY}3_counting.lua",
            "if call('SETBIT', session.bits, n, 1) == 0 then note_new(session, n, n, tally) end",
            "call('SETBIT', session.bits, n, 1); note_new(session, n, n, tally)",
        ),
    ),
    "settled before the commit": (
        Patch(
            "persistence/flusher.py",
            """\
        with self._metrics.batch_seconds.time():
            outcome = await self._writer.write(batch)
""",
            """\
        await self._ledger.settle(
            [Settlement(each.state.key, each.state.revision, each.minutes) for each in batch]
        )
        with self._metrics.batch_seconds.time():
            outcome = await self._writer.write(batch)
""",
        ),
    ),
    "masks replaced, not merged": (
        Patch(
            "sql/statements/write_minutes.sql",
            "seconds_mask = stored.seconds_mask | excluded.seconds_mask\n",
            "seconds_mask = excluded.seconds_mask\n",
        ),
        Patch(
            "sql/statements/write_minutes.sql",
            "stored.seconds_mask | excluded.seconds_mask <> stored.seconds_mask",
            "excluded.seconds_mask <> stored.seconds_mask",
        ),
    ),
    "no seed after an empty restart": (
        Patch(
            f"{_LIBRARY}6_telling.lua",
            "call('HSETNX', key, 'o', args[at + 2])",
            "call('HSETNX', key, 'o', '0')",
        ),
        Patch(
            f"{_LIBRARY}6_telling.lua",
            "call('HSETNX', key, 'm|' .. user, args[at + 3])",
            "call('HSETNX', key, 'm|' .. user, '0')",
        ),
    ),
    "no limit but the organization's": (
        Patch(
            f"{_LIBRARY}1_accounts.lua",
            "if member.limit >= 0 then left = min(left, member.limit - used_of(member)) end",
            "",
        ),
    ),
}


def run_broken(name: str, seed: int) -> int:
    """Run the oracle on a broken copy; its exit code: 0 when it found something."""
    with broken_copy(name) as root:
        command = [sys.executable, "-m", "tests.faults", "--until-found", "--seed", str(seed)]
        return subprocess.run(command, cwd=root, check=False).returncode


@contextmanager
def broken_copy(name: str) -> Iterator[Path]:
    """A copy of the source, broken so. Raises ValueError when the source has changed too much."""
    with tempfile.TemporaryDirectory(prefix="meter-broken-") as scratch:
        root = Path(scratch) / "source"
        shutil.copytree(REPOSITORY, root, ignore=_LEFT_OUT)
        for patch in BREAKAGES[name]:
            patch.apply(root)
        yield root


def run_until_found(seed: int, console: Console) -> bool:
    """Run short runs, each with a seed of its own, until one finds something; whether one did."""
    faults_seconds = 0.0
    began = time.monotonic()
    for round_seed in range(seed, seed + MOST_ROUNDS):
        outcome = _round(round_seed)
        faults_seconds += outcome.options.seconds
        if not outcome.good:
            whole = time.monotonic() - began
            console.print(f"found after {faults_seconds:.0f} s of faults, {whole:.0f} s in all:")
            for finding in outcome.verdict.findings[:6]:
                console.print(f"  {finding}", highlight=False)
            rest = len(outcome.verdict.findings) - 6
            if rest > 0:
                console.print(f"  and {rest} more")
            return True
    console.print(f"nothing found in {faults_seconds:.0f} s of faults")
    return False


def _round(seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="meter-chaos-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o711)  # the user that Postgres runs as enters it
        return asyncio.run(Run(short(seed), directory).run())
