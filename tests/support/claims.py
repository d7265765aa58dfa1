"""Claiming with or without bounds, and something to be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marketbell.model import Application, Attempt, Endpoint
from marketbell.store.base import (
    AttemptFilter,
    Birth,
    Claimed,
    ClaimRequest,
    Page,
    Publication,
    Published,
    Store,
)
from marketbell.testing.stores import ORGANIZATION, Scene

LEASE = 60_000


async def ask(scene: Scene, **request: Any) -> Claimed:
    """One claim with more room than anything needs, unless told otherwise."""
    return await scene.store.claim(
        ClaimRequest(
            **{
                "now": scene.now,
                "lease_until": scene.now + LEASE,
                "limit": 1_000,
                "rooms": {},
                "new_room": 1_000,
                **request,
            }
        )
    )


async def shop(scene: Scene, endpoints: int = 1) -> tuple[Application, list[Endpoint]]:
    """A new application with so many endpoints."""
    application = await scene.application()
    return application, [await scene.endpoint(application) for _ in range(endpoints)]


async def put(
    scene: Scene, application: Application, endpoint: Endpoint, dues: Sequence[int], **fields: Any
) -> list[int]:
    """One message for each of these due times, in one call; their numbers."""
    revision = (await scene.store.application(ORGANIZATION, application.public_id)).revision
    verdicts = await scene.store.publish(
        [
            Publication(
                message=scene.message(application, **fields),
                revision=revision,
                births=(Birth(endpoint_id=endpoint.id, due_at=due_at),),
            )
            for due_at in dues
        ]
    )
    return [verdict.message.id for verdict in verdicts if isinstance(verdict, Published)]


async def attempts(store: Store, endpoint: Endpoint) -> list[Attempt]:
    """The attempts on record at an endpoint, oldest first."""
    part = await store.attempts(
        endpoint.application_id, AttemptFilter(endpoint_id=endpoint.id), Page(limit=1_000)
    )
    return [row.attempt for row in part.data][::-1]


def numbers(claimed: Claimed) -> list[int]:
    """The messages that were claimed, in order."""
    return [claim.message.id for claim in claimed.claims]
