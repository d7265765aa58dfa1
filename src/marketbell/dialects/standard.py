"""The dialect `standard`: the payload as given, signed as Standard Webhooks and Svix ask."""

from __future__ import annotations

from typing import Final

from marketbell import signing
from marketbell.dialects import headers
from marketbell.dialects.base import AttemptStart, Form, Request, Schedule, Signal
from marketbell.dialects.catalogue import Catalogue
from marketbell.model import Endpoint, Instant, Message

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

_RESERVED: Final = headers.RESERVED | set(headers.SIGNED)


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

    def request_form(self, endpoint: Endpoint) -> Form:
        """See Formed: all but the six headers of the signature is the same each time."""
        own = headers.with_own((), endpoint, names=_RESERVED)
        signers = [(key.expires_at, signing.signer(key)) for key in endpoint.secrets]
        lasting = [each for expires_at, each in signers if expires_at is None]
        only = lasting[0] if len(lasting) == len(signers) == 1 else None

        def fill(message: Message, at: Instant) -> tuple[str, ...]:
            public_id, seconds, payload = message.public_id, at // 1000, message.payload
            if only is not None:
                signature = only(public_id, seconds, payload)
            else:
                signature = " ".join([
                    each(public_id, seconds, payload)
                    for expires_at, each in signers
                    if expires_at is None or expires_at > at
                ])  # fmt: skip
            timestamp = str(seconds)
            return (public_id, timestamp, signature, public_id, timestamp, signature)

        signed = tuple((name, None) for name in headers.SIGNED)
        return Form((*headers.JSON, *signed, *own), fill)

    def accepted(self, status: int) -> bool:
        """Any 2xx."""
        return 200 <= status < 300
