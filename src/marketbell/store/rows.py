"""From rows to frozen values and back, for both sides of the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from marketbell.model import Message

_ENCODE = msgspec.json.Encoder()
_NAMES = msgspec.json.Decoder(tuple[str, ...])
_HEADERS = msgspec.json.Decoder(tuple[tuple[str, str], ...])


def encode_names(names: tuple[str, ...]) -> str | None:
    """Channels or tags as a JSON list; None for none."""
    return _ENCODE.encode(names).decode() if names else None


def decode_names(text: str | None) -> tuple[str, ...]:
    """The reverse of `encode_names`."""
    return _NAMES.decode(text) if text else ()


def encode_headers(headers: tuple[tuple[str, str], ...]) -> str | None:
    """Headers as a JSON list of pairs; None for none."""
    return _ENCODE.encode(headers).decode() if headers else None


def encode_keys(keys: Collection[int]) -> str:
    """Integer keys as a JSON list."""
    return _ENCODE.encode(keys).decode()


def keys_of(keys: Sequence[tuple[int, int]]) -> dict[str, str]:
    """The keys of rows of the outbox, as the statements take them."""
    return {"keys": _ENCODE.encode(keys).decode()}


def message_of(row: tuple[Any, ...]) -> Message:
    """A message from the table's columns in their order, followed by its payload or None."""
    return Message(
        id=row[0],
        public_id=row[1],
        application_id=row[2],
        event_type=row[3],
        event_id=row[4],
        channels=decode_names(row[5]),
        tags=decode_names(row[6]),
        occurred_at=row[7],
        created_at=row[8],
        payload_expires_at=row[9],
        deliver_at=row[10],
        headers=_HEADERS.decode(row[11]) if row[11] else (),
        payload=row[12] or b"",
    )
