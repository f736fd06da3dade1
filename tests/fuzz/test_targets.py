"""The fuzzers' targets on what they begin with, and on bytes of chance. `make fuzz` goes on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS


def test_each_target_has_something_to_begin_with() -> None:
    assert SEEDS.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_what_went_wrong_once_goes_right(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_of_chance_go_right(name: str) -> None:
    @settings(max_examples=150)
    @given(data=st.binary(max_size=400))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
