"""Close codes: their ranges are the contract."""

import pytest

from meter.codes import CloseCode, EndReason, ErrorCode


@pytest.mark.parametrize("code", list(CloseCode))
def test_the_range_of_a_close_code_says_whether_to_reconnect(code: CloseCode) -> None:
    assert code == 1000 or 4000 <= code <= 4999
    assert code.reconnect == (4000 <= code <= 4499)


def test_close_codes_are_the_ones_promised() -> None:
    assert {code.name.lower(): code.value for code in CloseCode} == {
        "normal": 1000,
        "draining": 4000,
        "token_expired": 4001,
        "overloaded": 4002,
        "too_slow": 4003,
        "storage_unavailable": 4004,
        "limit_reached": 4500,
        "session_ended": 4501,
        "taken_over": 4502,
        "stopped_by_operator": 4503,
        "bad_message": 4504,
        "token_refused": 4505,
        "not_allowed": 4506,
        "too_many_sessions": 4507,
        "no_start": 4508,
    }


def test_error_codes_and_reasons_are_their_names_in_lower_case() -> None:
    for code in (*ErrorCode, *EndReason):
        assert code.value == code.name.lower()
