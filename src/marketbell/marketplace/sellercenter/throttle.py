"""How many feeds a seller may make: fifty at once, then one every two minutes. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.model import Instant, Millis
from marketbell.store.marketplace_plane import Entity

KIND: Final = "throttle"
KEY: Final = "feeds"

FREE: Final = 50
"""Feeds that may be made without a pause."""
PAUSE: Final[Millis] = 120_000
"""How long it takes until one more may be made: 770 on the first day."""


class Bucket(msgspec.Struct, frozen=True):
    """What a seller has left: a full one holds 50 tokens, and one comes back every two minutes."""

    spent_until: Instant
    """When it would be full again."""


def take(bucket: Bucket | None, now: Instant) -> Bucket | None:
    """The bucket after one more feed, None if there is no token left. None in is a full one."""
    until = now if bucket is None else max(bucket.spent_until, now)
    if until - now > (FREE - 1) * PAUSE:
        return None
    return Bucket(until + PAUSE)


def counted(kept: Entity | None, application_id: int, number: int, now: Instant) -> Entity | None:
    """
    A seller's row after one more feed, None if it may make none now.

    The row is kept together with the feed, so that a restart forgets nothing and two nodes
    cannot both take the last token. `number` is for a row that comes to be.
    """
    before = None if kept is None else msgspec.json.decode(kept.body, type=Bucket)
    after = take(before, now)
    if after is None:
        return None
    body = msgspec.json.encode(after)
    if kept is not None:
        return msgspec.structs.replace(kept, body=body)
    return Entity(
        application_id=application_id,
        kind=KIND,
        number=number,
        key=KEY,
        sole=True,
        state="counted",
        body=body,
        created_at=now,
        updated_at=now,
    )
