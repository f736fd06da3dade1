"""A small storm. `make chaos` has one of 5,000."""

from pathlib import Path

import pytest

from tests.faults.storm import Storm

RECORDERS = 300


@pytest.mark.integration
@pytest.mark.timeout(180)
async def test_recorders_that_all_come_back_at_once_lose_nothing(directory: Path) -> None:
    storm = Storm(directory, RECORDERS, seed=1, between_seconds=2.0)
    outcome = await storm.run()
    assert outcome.verdict.findings == []
    assert [comeback.back for comeback in outcome.comebacks] == [RECORDERS, RECORDERS]
    assert outcome.ends == {"stopped": RECORDERS}
    assert outcome.reconnects >= 2 * RECORDERS
    assert outcome.verdict.counted == outcome.verdict.recorded > 6 * RECORDERS
