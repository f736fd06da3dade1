"""Lists in pages: a cursor is the place of the last row of a page, and opaque to callers."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from gateway.problems import ProblemCode, refuse
from meter.admin_messages import Page, PageCursor, PageSize

DEFAULT_PAGE = 100

Item = TypeVar("Item")


class PageParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list."""

    limit: PageSize = DEFAULT_PAGE
    cursor: PageCursor | None = None


class Listing(Generic[Item]):
    """A list. Its cursors hold its name and a digest of what was asked of it, so that those of
    another list, or of another part of it, are none of its own; and a row's place, which is of the
    type `kind`."""

    def __init__(self, name: str, kind: Any, place_of: Callable[[Item], Any]) -> None:
        self._name = name
        self._kind = kind
        self._place_of = place_of

    def after(self, params: PageParams) -> Any:
        """The place to go on from; None: the beginning. Raises `Problem`."""
        if params.cursor is None:
            return None
        try:
            padded = params.cursor + "=" * (-len(params.cursor) % 4)
            told = base64.urlsafe_b64decode(padded)
            if b"\\u0000" in told:  # which no row has, and Postgres refuses
                raise ValueError("NUL")
            name, asked, place = msgspec.json.decode(told, type=tuple[str, str, msgspec.Raw])
            if (name, asked) != (self._name, _asked(params)):
                raise ValueError("another list")
            return msgspec.json.decode(place, type=self._kind)
        except (ValueError, UnicodeError, RecursionError, binascii.Error, msgspec.MsgspecError):
            raise refuse(
                ProblemCode.BAD_REQUEST, "`cursor` is none of this list, as it is asked for"
            ) from None

    def page(self, params: PageParams, found: Sequence[Item]) -> Page[Item]:
        """A page out of up to one row more than it holds."""
        items = tuple(found[: params.limit])
        cursor = None
        if len(found) > params.limit:
            told = msgspec.json.encode((self._name, _asked(params), self._place_of(items[-1])))
            cursor = base64.urlsafe_b64encode(told).rstrip(b"=").decode()
        return Page(items, cursor)


def _asked(params: PageParams) -> str:
    """What is asked for but the page: a digest, as a cursor is no place to keep it in."""
    asked = {
        name: value
        for name, value in msgspec.structs.asdict(params).items()
        if name not in PageParams.__struct_fields__
    }
    return hashlib.blake2b(msgspec.json.encode(asked, order="sorted"), digest_size=6).hexdigest()
