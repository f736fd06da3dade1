"""Limits as people give them, in hours or minutes, as whole seconds. Pure."""

from decimal import Decimal, InvalidOperation

UNLIMITED = -1  # a limit in seconds, or another bound, that there isn't

SECONDS_A_MINUTE = 60
SECONDS_AN_HOUR = 3600
# More than a number of whole seconds can have, but for zeros; a ratio of more is a huge number.
MAX_DECIMALS = 100
MAX_LIMIT_SECONDS = 10**9 * SECONDS_AN_HOUR  # as the database's columns have it


class BadLimit(ValueError):
    """`text` can't be a limit; the message says why."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text[:64]!r} is no limit: {why}")
        self.text = text


def limit_seconds(text: str, unit_seconds: int) -> int:
    """The seconds of a number of units, such as `10` or `1.5`, which have to be whole, and of -1
    `UNLIMITED`, in whatever unit. Raises `BadLimit`: nothing is rounded, as the limit is to be
    exact."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise BadLimit(text, "not a number") from None
    if not amount.is_finite():
        raise BadLimit(text, "not a number")
    if amount == UNLIMITED:
        return UNLIMITED
    if amount < 0:
        raise BadLimit(text, f"below zero, and not {UNLIMITED}, which is unlimited")
    if amount > MAX_LIMIT_SECONDS // unit_seconds:
        raise BadLimit(text, f"more than {MAX_LIMIT_SECONDS // unit_seconds}")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MAX_DECIMALS:
        raise BadLimit(text, f"more than {MAX_DECIMALS} decimals")
    # As a ratio: exact, however many digits there are.
    numerator, denominator = amount.as_integer_ratio()
    seconds, rest = divmod(numerator * unit_seconds, denominator)
    if rest:
        raise BadLimit(
            text, f"{float(amount * unit_seconds):g} seconds, and a limit is whole seconds"
        )
    return seconds
