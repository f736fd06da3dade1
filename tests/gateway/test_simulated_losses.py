"""Nothing is lost and nothing is billed twice, in random histories in which everything fails."""

import pytest

from tests.gateway.simulation import simulate

SEEDS_A_BLOCK = 20


@pytest.mark.parametrize("block", range(6))
def test_each_second_that_was_recorded_is_in_a_row_after_any_history(block: int) -> None:
    first = block * SEEDS_A_BLOCK
    wrong = {
        seed: house.wrong
        for seed in range(first, first + SEEDS_A_BLOCK)
        if (house := simulate(seed)).wrong
    }
    assert wrong == {}


def test_a_seed_tells_the_same_history_each_time() -> None:
    assert simulate(3, detailed=True).trace == simulate(3, detailed=True).trace
