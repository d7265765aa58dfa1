"""History in bulk: many messages in one transaction, their attempts in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marketbell.model import Application, Claim, DeliveryState, Endpoint, Verdict
from marketbell.store.base import Birth, Publication, Published, Result
from marketbell.testing.stores import Scene


async def publish_all(
    scene: Scene,
    application: Application,
    messages: Sequence[dict[str, Any]],
    *endpoints: Endpoint,
) -> list[Published]:
    """Keep a message of each of these fields, its deliveries born claimed."""
    present = await scene.store.application(application.organization, application.public_id)
    births = tuple(
        Birth(endpoint_id=endpoint.id, due_at=scene.now, lease_until=scene.now + 60_000)
        for endpoint in endpoints
    )
    verdicts = await scene.store.publish(
        [
            Publication(
                message=scene.message(application, **fields),
                revision=present.revision,
                births=births,
            )
            for fields in messages
        ]
    )
    return [verdict for verdict in verdicts if isinstance(verdict, Published)]


async def record_all(scene: Scene, claims: Sequence[Claim], codes: Sequence[int]) -> None:
    """Record an attempt of each claim: delivered for a 2xx, else failed for good."""
    results = []
    for claim, code in zip(claims, codes, strict=True):
        accepted = 200 <= code < 300
        state = DeliveryState.DELIVERED if accepted else DeliveryState.FAILED
        results.append(
            Result(claim=claim, attempt=scene.attempt(claim, code), verdict=Verdict(state=state))
        )
    await scene.store.record(results)
