"""The fuzzers' targets on what they begin with, and on bytes of chance. `make fuzz` goes on."""

import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter import messages
from meter.messages import Stop
from tests.fuzz.targets import SEEDS, TARGETS


def trouble(name: str, data: bytes) -> str:
    """What a target raises, with its traceback; empty when all holds."""
    try:
        TARGETS[name](data)
    except Exception:
        return traceback.format_exc()
    return ""


def test_each_target_has_something_to_begin_with() -> None:
    assert SEEDS.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_what_went_wrong_once_goes_right(name: str) -> None:
    assert [trouble(name, seed) for seed in SEEDS[name]] == [""] * len(SEEDS[name])


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_of_chance_go_right(name: str) -> None:
    @settings(max_examples=150)
    @given(data=st.binary(max_size=400))
    def run(data: bytes) -> None:
        assert trouble(name, data) == ""

    run()


def test_a_promise_that_is_broken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "decode", lambda _: object())
    assert "AssertionError" in trouble("recorder_frames", b"{}")
    monkeypatch.setattr(messages, "decode", lambda _: Stop())
    assert trouble("recorder_frames", b"{}") == ""
