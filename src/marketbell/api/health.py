"""`/api/v1/health`: whether the server can do its work, and whether it is there at all."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from marketbell.api.answers import NO_CONTENT, Answer
from marketbell.api.call import Access, Call, Operation
from marketbell.api.problems import COME_AGAIN
from marketbell.errors import StoreError

PATH: Final = "/api/v1/health"
PING: Final = "/api/v1/health/ping"

_REMEMBERED_S: Final = 1.0


class Part(msgspec.Struct, frozen=True):
    """One part of the server."""

    status: str
    """`ok` or `error`."""


class HealthOut(msgspec.Struct, frozen=True):
    """The parts; queue and cache live in the database here and share its fate."""

    database: Part
    queue: Part
    cache: Part


class Health:
    """Asks the store at most once a second, however often it is asked."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._good = True
        self._lock = asyncio.Lock()

    async def work(self, call: Call) -> Answer:
        """200 if a write transaction can be made, else 503; both with a body."""
        async with self._lock:
            now = call.services.clock.monotonic()
            if self._asked_at is None or not 0 <= now - self._asked_at < _REMEMBERED_S:
                self._good = await _pinged(call)
                self._asked_at = now
        part = Part("ok" if self._good else "error")
        body = msgspec.json.encode(HealthOut(part, part, part))
        return Answer(200, body) if self._good else Answer(503, body, COME_AGAIN)


async def _pinged(call: Call) -> bool:
    try:
        await call.services.store.ping()
    except StoreError:
        return False
    return True


async def _ping(_call: Call) -> Answer:
    return NO_CONTENT


def operations() -> tuple[Operation, ...]:
    """The operations of one server, which share what they remember."""
    return (
        Operation(
            method="GET",
            path=PATH,
            name="v1.health.get",
            summary="Tells whether a write transaction can be made, asked at most once a second.",
            gives={200: HealthOut, 503: HealthOut},
            access=Access.NOBODY,
            work=Health().work,
        ),
        Operation(
            method="GET",
            path=PING,
            name="v1.health.ping",
            summary="Tells that the server is there.",
            gives={204: None},
            access=Access.NOBODY,
            work=_ping,
        ),
    )
