"""
For tests of Marketbell and of what is built with it: a clock to turn, a receiver to script.

The receiver is a real server on a free port of 127.0.0.1, with TLS if asked, so what is tested
with it is the real client over real sockets.
"""

from marketbell.testing.certificates import Authority
from marketbell.testing.clock import FakeClock
from marketbell.testing.receiver import CLOSE, HANG, OK, RESET, Answer, Received, TestReceiver, Then

__all__ = (
    "CLOSE",
    "HANG",
    "OK",
    "RESET",
    "Answer",
    "Authority",
    "FakeClock",
    "Received",
    "TestReceiver",
    "Then",
)
