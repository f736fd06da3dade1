"""The Python client of Minute Meter: counts what you record, second by second.

`Recorder` is all that most programs need. `Core` is the same without I/O, for other event loops.
"""

from meter.codes import CloseCode, EndReason, ErrorCode
from meter.messages import StopNotice, Usage, Warning
from minute_meter.core import Core
from minute_meter.ends import End, State
from minute_meter.errors import (
    FutureSecondError,
    HandshakeRefusedError,
    InvalidStartError,
    InvalidUrlError,
    MinuteMeterError,
    NotStartedError,
    SessionEndedError,
    StopTimeoutError,
    TokenError,
    UnavailableError,
)
from minute_meter.events import HeartbeatSent, Refused
from minute_meter.options import Timeouts
from minute_meter.recorder import Recorder
from minute_meter.wire import Ack

__all__ = [
    "Ack",
    "CloseCode",
    "Core",
    "End",
    "EndReason",
    "ErrorCode",
    "FutureSecondError",
    "HandshakeRefusedError",
    "HeartbeatSent",
    "InvalidStartError",
    "InvalidUrlError",
    "MinuteMeterError",
    "NotStartedError",
    "Recorder",
    "Refused",
    "SessionEndedError",
    "State",
    "StopNotice",
    "StopTimeoutError",
    "Timeouts",
    "TokenError",
    "UnavailableError",
    "Usage",
    "Warning",
]
