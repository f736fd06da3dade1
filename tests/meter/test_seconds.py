"""Sets of seconds in their three shapes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.seconds import (
    MINUTE_MASK,
    SecondSet,
    mask_of,
    minute_from_bitmap,
    minute_masks,
    ranges_of,
)

seconds = st.sets(st.integers(0, 400))


def _mask(members: set[int]) -> int:
    return sum(1 << member for member in members)


def _bitmap(members: set[int]) -> bytes:
    """As Redis' SETBIT leaves it: bit 0 is a byte's highest."""
    data = bytearray(max(members, default=-1) // 8 + 1)
    for member in members:
        data[member // 8] |= 128 >> member % 8
    return bytes(data)


def _members(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [second for first, last in ranges for second in range(first, last + 1)]


def test_a_mask_has_the_bits_from_first_to_last_both_included() -> None:
    assert mask_of(0, 0) == 1
    assert mask_of(2, 4) == 0b11100
    assert mask_of(0, 59) == MINUTE_MASK


def test_an_empty_mask_has_no_ranges() -> None:
    assert list(ranges_of(0)) == []


@given(members=seconds, base=st.integers(-1000, 1000))
def test_ranges_hold_exactly_the_bits_and_are_as_few_as_can_be(
    members: set[int], base: int
) -> None:
    ranges = tuple(ranges_of(_mask(members), base))
    assert _members(ranges) == [base + member for member in sorted(members)]
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ranges))


@given(members=seconds, origin=st.integers(0, 2**40))
def test_minute_masks_hold_each_second_in_the_utc_minute_it_falls_in(
    members: set[int], origin: int
) -> None:
    masks = minute_masks(origin, members)
    moments = {
        minute * 60 + index
        for minute, mask in masks.items()
        for index in range(60)
        if mask >> index & 1
    }
    assert moments == {origin + member for member in members}
    assert all(0 < mask <= MINUTE_MASK for mask in masks.values())


@given(members=seconds, origin=st.integers(0, 10_000), whole=st.booleans())
def test_a_minute_read_from_a_bitmap_is_the_minute_counted_into_it(
    members: set[int], origin: int, whole: bool
) -> None:
    bitmap, expected = _bitmap(members), minute_masks(origin, members)
    for minute in range(origin // 60, (origin + 400) // 60 + 1):
        start = minute * 60 - origin
        first_byte = 0 if whole else max(start, 0) // 8
        data = bitmap[first_byte:] if whole else bitmap[first_byte : (start + 59) // 8 + 1]
        mask = minute_from_bitmap(data, first_byte, origin, minute)
        assert mask == expected.get(minute, 0)


def test_a_minute_without_bytes_is_empty() -> None:
    assert minute_from_bitmap(b"", 7, 30, 2) == 0


ADD, DISCARD, DISCARD_FROM = "add", "discard", "discard from"
steps = st.lists(
    st.one_of(
        st.tuples(st.just(ADD), st.integers(0, 300), st.integers(0, 20)),
        st.tuples(st.sampled_from((DISCARD, DISCARD_FROM)), st.integers(-5, 330), st.just(0)),
    ),
    max_size=20,
)


@given(steps=steps)
def test_a_second_set_holds_what_a_set_of_integers_would(
    steps: list[tuple[str, int, int]],
) -> None:
    subject, expected = SecondSet(), set[int]()
    for step, at, length in steps:
        if step is ADD:
            subject.add(at, at + length)
            expected |= set(range(at, at + length + 1))
        elif step is DISCARD:
            subject.discard_through(at)
            expected = {second for second in expected if second > at}
        else:
            subject.discard_from(at)
            expected = {second for second in expected if second < at}
        assert _members(subject.ranges()) == sorted(expected)
        assert len(subject) == len(expected)
        assert bool(subject) == bool(expected)
        assert subject.highest() == max(expected, default=-1)
        if expected:
            assert subject.lowest() == min(expected)


@given(one=steps, other=steps)
def test_merging_is_the_union_and_leaves_the_other_as_it_was(
    one: list[tuple[str, int, int]], other: list[tuple[str, int, int]]
) -> None:
    left, right = SecondSet(), SecondSet()
    for subject, adds in ((left, one), (right, other)):
        for _, at, length in adds:
            subject.add(at, at + length)
    before = right.ranges()
    expected = sorted({*_members(left.ranges()), *_members(before)})
    left.merge(right)
    assert _members(left.ranges()) == expected
    assert right.ranges() == before


@given(adds=steps, most=st.integers(1, 4))
def test_ranges_are_taken_from_the_lowest_on_and_none_twice(
    adds: list[tuple[str, int, int]], most: int
) -> None:
    subject = SecondSet()
    for _, at, length in adds:
        subject.add(at, at + length)
    expected, taken = subject.ranges(), list[tuple[int, int]]()
    while subject:
        part = subject.take(most)
        assert 1 <= len(part) <= most
        taken += part
    assert tuple(taken) == expected
    assert subject.take(most) == ()


def test_a_set_that_was_cleared_is_empty_and_takes_what_comes() -> None:
    subject = SecondSet()
    subject.add(5, 9)
    subject.clear()
    assert not subject
    subject.add(2, 3)
    assert subject.ranges() == ((2, 3),)


def test_a_second_below_the_floor_is_kept_beside_the_ones_above_it() -> None:
    subject = SecondSet()
    subject.add(100, 101)
    subject.add(3, 3)
    assert subject.ranges() == ((3, 3), (100, 101))


def test_an_old_second_comes_back_after_its_like_were_discarded() -> None:
    subject = SecondSet()
    subject.add(0, 100)
    subject.discard_through(90)
    subject.add(5, 5)
    assert subject.ranges() == ((5, 5), (91, 100))


def test_discarding_past_the_end_empties_the_set() -> None:
    subject = SecondSet()
    subject.add(0, 9)
    subject.discard_through(1_000_000)
    assert not subject
    assert subject.ranges() == ()


@pytest.mark.parametrize("last", [-1, 4])
def test_discarding_below_the_lowest_second_changes_nothing(last: int) -> None:
    subject = SecondSet()
    subject.add(5, 6)
    subject.discard_through(last)
    assert subject.ranges() == ((5, 6),)
