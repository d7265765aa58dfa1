"""The writing connection keeps its prepared statements from one transaction to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marketbell.model import DeliveryState, Verdict
from marketbell.store.base import Birth, Idempotency, Publication, Published, Result
from marketbell.testing.stores import Scene
from support.opened import opened

MESSAGES = 50
DELIVERED = Verdict(state=DeliveryState.DELIVERED)


async def test_a_group_of_messages_parses_nothing_that_those_before_it_have_run(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "marketbell.db") as store:
        scene = Scene(store)
        application = await scene.application()
        endpoint = await scene.endpoint(application)
        view = await store.subscribers(application.organization, application.public_id)

        async def group(number: int) -> int:
            """Publish and deliver; how many statements had to be parsed."""
            before = parsed(store._connection.cache_stats())
            verdicts = await store.publish(
                [
                    Publication(
                        message=scene.message(application),
                        revision=view.revision,
                        births=(
                            Birth(
                                endpoint_id=endpoint.id,
                                due_at=scene.now,
                                lease_until=scene.now + 60_000,
                            ),
                        ),
                        idempotency=Idempotency(bytes([number, place] * 8), bytes(16), True),
                    )
                    for place in range(MESSAGES)
                ]
            )
            kept = [one for one in verdicts if isinstance(one, Published)]
            assert len(kept) == MESSAGES
            await store.record(
                [
                    Result(claim=claim, attempt=scene.attempt(claim), verdict=DELIVERED)
                    for one in kept
                    for claim in one.claims
                ]
            )
            return parsed(store._connection.cache_stats()) - before

        first = [await group(number) for number in range(2)]
        assert sum(first) > 0
        assert [await group(number) for number in range(2, 6)] == [0, 0, 0, 0]


def parsed(statistics: dict[str, Any]) -> int:
    return int(statistics["misses"])
