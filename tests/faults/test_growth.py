"""What a process holds is compared with what it held."""

from dataclasses import replace

import pytest

from tests.faults.growth import MOST_MADE, SLACK, SLACK_MEGABYTES, grown
from tests.faults.programs import Size

BEFORE = Size(files=20, made=10, taken=1, megabytes=70.0, threads=3, tasks=8)


def test_what_stays_as_it_was_has_not_grown() -> None:
    assert grown(BEFORE, BEFORE) == []
    more = replace(BEFORE, files=20 + SLACK, made=MOST_MADE, tasks=8 + SLACK)
    assert grown(BEFORE, more) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("files", 20 + SLACK + 1),
        ("made", MOST_MADE + 1),
        ("taken", 2),
        ("megabytes", 70.0 + SLACK_MEGABYTES + 1),
        ("threads", 3 + SLACK + 1),
        ("tasks", 8 + SLACK + 1),
    ],
)
def test_each_thing_that_a_process_holds_more_of_is_found(field: str, value: float) -> None:
    assert len(grown(BEFORE, replace(BEFORE, **{field: value}))) == 1  # type: ignore[arg-type]
