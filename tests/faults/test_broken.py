"""The code can still be broken in each of the ways that the oracle has to notice."""

import pytest

from tests.faults.broken import BREAKAGES, broken_copy
from tests.faults.programs import REPOSITORY


@pytest.mark.parametrize("name", BREAKAGES)
def test_the_source_still_has_what_is_to_be_broken(name: str) -> None:
    patched = {patch.path for patch in BREAKAGES[name]}
    with broken_copy(name) as root:
        for path in patched:
            assert (root / path).read_text() != (REPOSITORY / path).read_text()
        assert (root / "tests/faults/broken.py").exists()
