"""What a recorder is warned of as its account's limit comes near."""

from collections.abc import Iterable

from tests.gateway.driving import Driven

TEN_MINUTES = 600


def warnings(messages: Iterable[dict[str, object]]) -> list[tuple[object, object]]:
    return [(each["kind"], each["value"]) for each in messages if each["type"] == "warning"]


def recording(limit: int) -> Driven:
    """A session that has just begun, and plenty of time to catch up with."""
    driven = Driven()
    driven.ledger.limit = limit
    driven.start()
    driven.now += limit + 60
    return driven


def count_through(driven: Driven, last: int) -> list[tuple[object, object]]:
    driven.hear(0, last)
    return warnings(driven.count())


class TestThresholds:
    def test_each_is_told_at_the_second_that_reaches_it_and_once(self) -> None:
        driven = recording(TEN_MINUTES)
        assert count_through(driven, 298) == []
        assert count_through(driven, 299) == [("remaining_minutes", 5)]
        assert count_through(driven, 418) == []
        assert count_through(driven, 419) == [("percent", 70)]
        assert count_through(driven, 420) == []

    def test_several_at_once_tell_the_most_advanced_only(self) -> None:
        driven = recording(TEN_MINUTES)
        assert count_through(driven, 560) == [("remaining_minutes", 1)]
        assert count_through(driven, 561) == []

    def test_the_limit_itself_is_told_before_the_stop(self) -> None:
        driven = recording(TEN_MINUTES)
        driven.hear(0, TEN_MINUTES - 1)
        types = [message["type"] for message in driven.count()]
        assert types[-2:] == ["warning", "stop"]
        assert warnings(driven.sent) == [("percent", 100)]

    def test_a_session_that_joins_late_is_told_the_present_one(self) -> None:
        first = recording(TEN_MINUTES)
        count_through(first, 450)
        late = Driven(ledger=first.ledger, owner=8)
        late.start()
        assert warnings(late.count()) == [("percent", 70)]

    def test_the_next_connection_of_a_session_is_not_told_again(self) -> None:
        first = recording(TEN_MINUTES)
        count_through(first, 450)
        second = Driven(ledger=first.ledger, owner=8)
        second.start()
        second.session.inherit(first.session.tally)
        assert warnings(second.count()) == []

    def test_without_a_limit_there_is_nothing_to_warn_of(self) -> None:
        driven = Driven()
        driven.start()
        driven.now += 7200
        assert count_through(driven, 7000) == []
