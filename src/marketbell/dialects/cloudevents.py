"""The dialects `cloudevents` and `cloudevents-binary`: CloudEvents 1.0 over HTTP."""

from __future__ import annotations

import datetime
import re
import urllib.parse
from typing import Final

import msgspec

from marketbell.dialects import headers
from marketbell.dialects.base import AttemptStart, Request
from marketbell.dialects.catalogue import Catalogue
from marketbell.dialects.standard import EVERY_SIGNAL, SCHEDULE
from marketbell.errors import InvalidError
from marketbell.model import Endpoint, Instant, Message

DEFAULT_SOURCE: Final = "urn:marketbell"

_SOURCE: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{1,512}")
_PLAIN: Final = re.compile(r"[!#$&-~]*")
_SAFE: Final = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """One event in structured mode (CloudEvents JSON format 1.0, section 3)."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    datacontenttype: str
    data: msgspec.Raw


class CloudEvents:
    """
    Any event type, as a CloudEvent; the payload's own bytes are its data.

    In structured mode the body is the whole event, in binary mode the body is the payload
    and the attributes are `ce-*` headers. `id` is the message's own id, which with `source`
    is unique, and `time` is when it happened; both stay on a resend. A `source` that is no
    URI reference raises InvalidError.
    """

    catalogue = Catalogue(())
    schedule = SCHEDULE
    honours = EVERY_SIGNAL
    https_only = False

    def __init__(self, *, binary: bool = False, source: str = DEFAULT_SOURCE) -> None:
        if not _SOURCE.fullmatch(source):
            raise InvalidError(
                ("cloudevents_source",),
                f"{source!r} is not a URI reference; give one such as urn:example:shop",
            )
        self.name = "cloudevents-binary" if binary else "cloudevents"
        self._binary = binary
        self._source = source
        self._encode = msgspec.json.Encoder().encode

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """The request; byte for byte the same on every attempt."""
        if self._binary:
            return self._rendered_binary(message, endpoint)
        body = Body(
            specversion="1.0",
            id=message.public_id,
            source=self._source,
            type=message.event_type,
            time=_time(message.occurred_at),
            datacontenttype="application/json",
            data=msgspec.Raw(message.payload),
        )
        return Request(headers.with_own(_STRUCTURED, endpoint), self._encode(body))

    def _rendered_binary(self, message: Message, endpoint: Endpoint) -> Request:
        return Request(
            headers.with_own(
                (
                    *headers.JSON,
                    ("ce-specversion", "1.0"),
                    ("ce-id", message.public_id),
                    ("ce-source", _header(self._source)),
                    ("ce-type", _header(message.event_type)),
                    ("ce-time", _time(message.occurred_at)),
                ),
                endpoint,
                prefix="ce-",
            ),
            message.payload,
        )

    def accepted(self, status: int) -> bool:
        """Any 2xx."""
        return 200 <= status < 300


_STRUCTURED: Final = (("content-type", "application/cloudevents+json"), headers.USER_AGENT)


def _time(at: Instant) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    seconds, millis = divmod(at, 1000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment.isoformat()[:19]}.{millis:03d}Z"


def _header(value: str) -> str:
    """A header's value, percent-encoded as the HTTP binding asks (section 3.1.3.2)."""
    return value if _PLAIN.fullmatch(value) else urllib.parse.quote(value, safe=_SAFE)
