"""What can go wrong. All derive from `MinuteMeterError`; what they know is in fields."""

from minute_meter.ends import End


class MinuteMeterError(Exception):
    """Root of this package's exceptions."""


class InvalidUrlError(MinuteMeterError):
    """`url` isn't an absolute `ws`, `wss`, `http` or `https` address."""

    def __init__(self, url: str) -> None:
        super().__init__(f"not a ws://, wss://, http:// or https:// address: {url!r}")
        self.url = url


class InvalidStartError(MinuteMeterError):
    """The session's `start` would be refused as it is: a kind, a token or metadata too long."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the session cannot be started: {detail}")
        self.detail = detail


class TokenError(MinuteMeterError):
    """The token's callable raised, or took too long; the cause is chained."""

    def __init__(self) -> None:
        super().__init__("no token could be had")


class UnavailableError(MinuteMeterError):
    """No session could be started in time; the last attempt's error is chained."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        super().__init__(f"no session on {url} within {timeout_seconds:g} s")
        self.url = url
        self.timeout_seconds = timeout_seconds


class NotStartedError(MinuteMeterError):
    """The recorder was used before it was started."""

    def __init__(self) -> None:
        super().__init__("the recorder isn't started: use `async with`, or await `start()`")


class FutureSecondError(MinuteMeterError):
    """A second that hasn't begun yet by the server's clock cannot have been recorded."""

    def __init__(self, second: int, latest: int) -> None:
        super().__init__(f"second {second} is in the future, the latest now is {latest}")
        self.second = second
        self.latest = latest


class SessionEndedError(MinuteMeterError):
    """The server refused the session, or ended it without having asked to stop.

    `end` has the close code and reason. `held` are seconds (inclusive ranges) that the server never
    said were durable; most of them are, as they are said to be so a minute late.
    """

    def __init__(self, end: End, held: tuple[tuple[int, int], ...]) -> None:
        detail = f": {end.detail}" if end.detail else ""
        super().__init__(f"the session is over: {end.reason} (close code {end.code}){detail}")
        self.end = end
        self.held = held


class StopTimeoutError(MinuteMeterError):
    """The server didn't confirm the end in time. `held` as in `SessionEndedError`."""

    def __init__(self, timeout_seconds: float, held: tuple[tuple[int, int], ...]) -> None:
        super().__init__(f"the end wasn't confirmed within {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds
        self.held = held


class HandshakeRefusedError(MinuteMeterError):
    """The address is no recorder's: the WebSocket handshake was refused."""

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(f"{url} refused the connection: {detail}")
        self.url = url
        self.detail = detail
