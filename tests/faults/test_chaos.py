"""A short chaos run with a fixed seed. `make chaos` is the long one."""

import io
import itertools
import json
from pathlib import Path

import pytest
import typer
from rich.console import Console

from tests.faults.__main__ import chosen
from tests.faults.faults import FAULTS
from tests.faults.nemesis import plan
from tests.faults.report import as_json, as_markdown, print_outcome
from tests.faults.run import Run
from tests.faults.short import KINDS, short


@pytest.mark.integration
@pytest.mark.timeout(240)
async def test_nothing_is_lost_and_nothing_billed_twice_whatever_breaks(directory: Path) -> None:
    outcome = await Run(short(), directory).run()
    assert outcome.verdict.findings == []
    assert (outcome.verdict.lost, outcome.verdict.twice, outcome.verdict.over_limit) == (0, 0, 0)
    # How many fit in depends on how long servers take to come back.
    assert len(outcome.faults) >= len(KINDS) - 3
    assert outcome.verdict.counted > 250
    assert outcome.reconnects > 50
    said = io.StringIO()
    print_outcome(Console(file=said), outcome, None)
    assert "nothing lost, nothing twice" in said.getvalue()
    assert json.loads(json.dumps(as_json(outcome, None)))["seconds"]["lost"] == 0
    assert "| lost | 0 |" in as_markdown(outcome, None)


def test_kinds_of_fault_are_chosen_by_parts_of_their_names() -> None:
    assert {fault.name for fault in chosen("stopped, locked", 1)} == {
        "postgres stopped",
        "postgres stopped long",
        "postgres locked",
    }
    assert chosen("", 10) == FAULTS
    assert not any(fault.minutes > 1 for fault in chosen("", 1))
    with pytest.raises(typer.BadParameter):
        chosen("no such thing", 1)


def test_a_seed_says_all_of_what_breaks_when() -> None:
    first = list(itertools.islice(plan(7), 100))
    assert list(itertools.islice(plan(7), 100)) == first
    assert list(itertools.islice(plan(8), 100)) != first


def test_each_kind_of_fault_comes_once_before_any_comes_again() -> None:
    names = [planned.fault.name for planned in itertools.islice(plan(7), len(FAULTS))]
    assert sorted(names) == sorted(fault.name for fault in FAULTS)
