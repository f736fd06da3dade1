"""Where a recorder gets its tokens: a fixed one, or a callable that gives a fresh one each time."""

import asyncio
from collections.abc import Awaitable, Callable

from minute_meter.errors import TokenError

Token = str | Callable[[], Awaitable[str]]


async def fetch(token: Token, timeout_seconds: float) -> str:
    """A token to use now. Raises `TokenError` when the callable fails or takes too long."""
    if isinstance(token, str):
        return token
    try:
        async with asyncio.timeout(timeout_seconds):
            return await token()
    except Exception as error:
        raise TokenError from error
