"""What a client makes of a server that calls seconds too early. Pure; times are monotonic
seconds."""

from minute_meter.clock import Timeline

# The estimate of the server's clock is taken back by so much at a time, so often a connection.
SET_BACK_SECONDS = 1.0
MOST_SET_BACKS = 60
QUIET_SECONDS = 10.0


class EarlyRefusals:
    """The local clock runs fast, or the server's was set back: by how much, it doesn't say."""

    def __init__(self) -> None:
        self._set_backs = 0
        self._quiet_until = float("-inf")

    def connected(self) -> None:
        """A connection stands, on which the server tells the time anew."""
        self._set_backs = 0
        self._quiet_until = float("-inf")

    def quiet(self, now: float) -> bool:
        """Whether nothing is to be sent, as it would only be refused."""
        return now < self._quiet_until

    def refused(self, timeline: Timeline, now: float) -> float | None:
        """Take the timeline's clock back; when that has led nowhere, be quiet for a while. Gives
        when to ask for the time again, as the server's clock may have been put right until then."""
        if self._set_backs < MOST_SET_BACKS:
            self._set_backs += 1
            timeline.set_back(SET_BACK_SECONDS)
            return None
        if self.quiet(now):
            return None
        self._quiet_until = now + QUIET_SECONDS
        return self._quiet_until
