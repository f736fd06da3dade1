"""Lists in pages: a cursor is the place of the last row of a page, and opaque to callers."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.problems import ProblemCode, refuse
from meter.admin_messages import Page, PageCursor, PageSize

DEFAULT_PAGE = 100

Item = TypeVar("Item")


class PageParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list."""

    limit: PageSize = DEFAULT_PAGE
    cursor: PageCursor | None = None

    def after(self, kind: Any) -> Any:
        """The place to go on from, of this type; None: the beginning. Raises `Problem`."""
        if self.cursor is None:
            return None
        try:
            padded = self.cursor + "=" * (-len(self.cursor) % 4)
            place = base64.urlsafe_b64decode(padded)
            if b"\\u0000" in place:  # which no row has, and Postgres refuses
                raise ValueError("NUL")
            return msgspec.json.decode(place, type=kind)
        except (ValueError, UnicodeError, RecursionError, binascii.Error, msgspec.MsgspecError):
            raise refuse(ProblemCode.BAD_REQUEST, "`cursor` is none of this list") from None


def page(params: PageParams, found: Sequence[Item], place_of: Callable[[Item], Any]) -> Page[Item]:
    """A page out of up to one row more than it holds."""
    items = tuple(found[: params.limit])
    cursor = None
    if len(found) > params.limit:
        place = msgspec.json.encode(place_of(items[-1]))
        cursor = base64.urlsafe_b64encode(place).rstrip(b"=").decode()
    return Page(items, cursor)
