"""Fills a database with messages whose deliveries wait, while no server has it open."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import wire
from marketbell import ids
from marketbell.clock import SystemClock
from marketbell.model import Message
from marketbell.store.base import Birth, Publication, Published
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits

_CHUNK: Final = 2_000


class Share(msgspec.Struct, frozen=True):
    """So many messages, one after the other for each of these applications."""

    count: int
    applications: Sequence[str]
    due_in_ms: int
    """How long after now their deliveries fall due."""


async def seed(
    db: Path,
    secrets_key: str,
    organization: str,
    shares: Sequence[Share],
    *,
    first_serial: int = 0,
    progress: Callable[[int], None] = lambda _count: None,
) -> None:
    """Keep the messages with one pending delivery to every endpoint of their application."""
    clock = SystemClock()
    store = SqliteStore(
        SqliteOptions(path=db), Box([base64.b64decode(secrets_key)]), clock, WriterLimits()
    )
    serial, done = first_serial, 0
    try:
        for share in shares:
            subscribers = [await store.subscribers(organization, one) for one in share.applications]
            for begun in range(0, share.count, _CHUNK):
                now = clock.now()
                publications = []
                for number in range(begun, min(begun + _CHUNK, share.count)):
                    one = subscribers[number % len(subscribers)]
                    publications.append(
                        Publication(
                            message=_message(one.application.id, serial, now),
                            revision=one.application.revision,
                            births=tuple(
                                Birth(endpoint_id=endpoint.id, due_at=now + share.due_in_ms)
                                for endpoint in one.endpoints
                            ),
                        )
                    )
                    serial += 1
                for verdict in await store.publish(publications):
                    if not isinstance(verdict, Published):
                        raise verdict
                done += len(publications)
                progress(done)
    finally:
        await store.aclose()


def _message(application_id: int, serial: int, now: int) -> Message:
    return Message(
        id=0, public_id=ids.new_id(ids.MESSAGE, now), application_id=application_id,
        event_type="order.paid", event_id=None, payload=wire.payload(serial), occurred_at=now,
        created_at=now, payload_expires_at=now + 90 * 86_400_000,
    )  # fmt: skip
