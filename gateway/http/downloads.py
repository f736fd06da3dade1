"""Answers that are sent while they are made, for as long as somebody reads them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.http.operations import Streamed


class Download(StreamingResponse):
    """A streamed answer. When its reader leaves, what makes it is ended once, and in good order:
    Starlette cancels again at each step of that, so that a connection to Postgres could not even
    roll back. (An answer that ends early is cut off by the server.)"""

    def __init__(self, streamed: Streamed) -> None:
        headers = {"cache-control": "no-store", **streamed.headers}
        super().__init__(streamed.parts, media_type=streamed.media_type, headers=headers)
        self._beginning, self._parts = streamed.beginning, streamed.parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all parts; return as soon as nobody reads them."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        left = asyncio.create_task(_left(receive))
        try:
            async with aclosing(self._parts):
                if scope["method"] != "HEAD":
                    await self._send_parts(send, left)
        finally:
            left.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _send_parts(self, send: Send, left: asyncio.Task[None]) -> None:
        part: bytes | None = self._beginning
        while part is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await _unless_left(self._parts, left)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _unless_left(parts: AsyncIterator[bytes], left: asyncio.Task[None]) -> bytes | None:
    """The next part; None when there is none, or nobody reads it."""
    following = asyncio.ensure_future(anext(parts, None))
    try:
        await asyncio.wait((following, left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not following.done():
            following.cancel()
            await asyncio.wait((following,))
    if left.done():
        following.cancelled() or following.exception()  # there is nobody to be told
        return None
    return following.result()
