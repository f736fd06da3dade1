"""The function library does what its reference model says, whatever is asked of it.

`METER_EXAMPLES` sets how many random runs are made, and makes them new ones each time.
"""

import os
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger.machine import LedgerMachine
from tests.ledger.world import Backend, World

EXAMPLES = int(os.environ.get("METER_EXAMPLES", "0"))


def _run(backend: Backend, examples: int, steps: int) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(partial(World, backend))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=steps,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.integration
@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_the_library_on_valkey_does_what_the_model_says(valkey_backend: Backend) -> None:
    _run(valkey_backend, examples=60, steps=50)


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_the_library_on_fakeredis_does_what_the_model_says(fake_backend: Backend) -> None:
    _run(fake_backend, examples=10, steps=30)
