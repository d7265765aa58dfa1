"""The dialect `standard`: the payload as given, signed as Standard Webhooks and Svix ask."""

from __future__ import annotations

from typing import Final

from marketbell import signing
from marketbell.dialects import headers
from marketbell.dialects.base import AttemptStart, Request, Schedule, Signal
from marketbell.dialects.catalogue import Catalogue
from marketbell.model import Endpoint, Message

_SECOND: Final = 1000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE

SCHEDULE: Final = Schedule(
    waits=(
        5 * _SECOND,
        5 * _MINUTE,
        30 * _MINUTE,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        10 * _HOUR,
    ),
    jitter=0.2,
)
"""Svix's published retry schedule; the Standard Webhooks specification asks for jitter."""

EVERY_SIGNAL: Final = frozenset(Signal)

_RESERVED: Final = headers.RESERVED | {
    f"{prefix}-{name}"
    for prefix in ("svix", "webhook")
    for name in ("id", "timestamp", "signature")
}


class Standard:
    """
    Any event type; the body is the payload's own bytes.

    The id, the time of the attempt and the signature stand in `svix-*` and in `webhook-*`
    headers with the same values, so that the receivers of both verify it. A message's own headers
    stand before an endpoint's.
    """

    name = "standard"
    catalogue = Catalogue(())
    schedule = SCHEDULE
    honours = EVERY_SIGNAL
    https_only = False

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """The request, signed by each of the endpoint's keys that lives at `start`."""
        seconds = start.at // 1000
        keys = [
            key for key in endpoint.secrets if key.expires_at is None or key.expires_at > start.at
        ]
        signature = signing.sign(keys, message.public_id, seconds, message.payload)
        timestamp = str(seconds)
        plain, reserved = headers.JSON, _RESERVED
        if message.headers:
            plain = headers.with_message(plain, message)
            reserved |= {name.lower() for name, _value in message.headers}
        return Request(
            headers.with_own(
                (
                    *plain,
                    ("svix-id", message.public_id),
                    ("svix-timestamp", timestamp),
                    ("svix-signature", signature),
                    ("webhook-id", message.public_id),
                    ("webhook-timestamp", timestamp),
                    ("webhook-signature", signature),
                ),
                endpoint,
                names=reserved,
            ),
            message.payload,
        )

    def accepted(self, status: int) -> bool:
        """Any 2xx."""
        return 200 <= status < 300
