"""What a caller says of an endpoint, field by field: checked, and put over what the endpoint was."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.control import headers as heads
from marketbell.control.keys import signing_key
from marketbell.control.said import said_or
from marketbell.control.shapes import (
    DESCRIPTION_MAX,
    ENDPOINT_CHANNELS_MAX,
    VERSION_MAX,
    check_channels,
    check_text,
    check_throttle,
    check_uid,
)
from marketbell.dialects.headers import Headers
from marketbell.errors import InvalidError
from marketbell.model import Endpoint, SigningKey


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of an endpoint; UNSET is not said."""

    url: str | UnsetType = UNSET
    uid: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    event_types: tuple[str, ...] | UnsetType | None = UNSET
    types_field: str = "eventTypes"
    """What the caller calls `event_types`: SDKs before 2.0 say filterTypes."""
    types_known: frozenset[str] = frozenset()
    """Event types that there are beside those of the catalogues and of the organization."""
    channels: tuple[str, ...] | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    """With the keys `marketbell.*`."""
    throttle_rate: int | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    """All of them."""
    headers_set: dict[str, str | None] | UnsetType = UNSET
    """Some of them; None takes one away."""
    secret: str | UnsetType = UNSET
    """A new endpoint gets one made if it is not said; another's is replaced without an overlap."""
    key_type: str | None = None
    """What kind of secret is to be made for a new endpoint."""


def uid(change: EndpointChange, current: Endpoint | None) -> str | None:
    """Its uid, checked if it is another one. InvalidError."""
    uid = said_or(change.uid, current.uid if current else None)
    if uid is not None and not (current and uid == current.uid):
        check_uid(uid, ids.ENDPOINT, ("body", "uid"))
    return uid


def description(change: EndpointChange, current: Endpoint | None) -> str:
    """Its description. InvalidError."""
    description = said_or(change.description, current.description if current else "")
    check_text(description, ("body", "description"), limit=DESCRIPTION_MAX)
    return description


def channels(change: EndpointChange, current: Endpoint | None) -> frozenset[str] | None:
    """Its channels, None for all. InvalidError."""
    if isinstance(change.channels, UnsetType):
        return current.channels if current else None
    if change.channels is None:
        return None
    check_channels(
        change.channels, ("body", "channels"), ENDPOINT_CHANNELS_MAX, null="every channel"
    )
    return frozenset(change.channels)


def headers(change: EndpointChange, current: Endpoint | None) -> Headers:
    """Its headers, after those that are set alone. InvalidError."""
    before = current.headers if current else ()
    wanted = change.headers
    if not isinstance(change.headers_set, UnsetType):
        wanted = heads.merged(before, change.headers_set)
    if isinstance(wanted, UnsetType):
        return before
    return heads.check_headers(wanted, ("body", "headers"))


def throttle_rate(change: EndpointChange, current: Endpoint | None) -> int | None:
    """Its own limit, in messages a second. InvalidError."""
    rate = said_or(change.throttle_rate, current.throttle_rate if current else None)
    if rate is not None:
        check_throttle(rate, ("body", "throttleRate"))
    return rate


def version(change: EndpointChange, current: Endpoint | None) -> int:
    """Its version. InvalidError."""
    version = said_or(change.version, current.version if current else 1)
    if not 1 <= version <= VERSION_MAX:
        raise InvalidError(("body", "version"), f"A version is 1 to {VERSION_MAX}")
    return version


def secret(change: EndpointChange, current: Endpoint | None) -> SigningKey | None:
    """A secret of the caller's, or one that is made for a new endpoint; None keeps what is there. InvalidError."""
    text = said_or(change.secret, None)
    if text is None and current is not None:
        return None
    return signing_key(text, change.key_type, ("body", "secret"))
