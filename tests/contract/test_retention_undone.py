"""Retention where the store is at its limits: a step that was undone is made again, and none is refused."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from marketbell.errors import OverloadedError, StoreError
from marketbell.model import Millis
from marketbell.store.base import Ages, ApplicationDraft, Pruned, Store
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import Ground

DAY = 86_400_000


class BreaksOnce(Mapping[str, Millis]):
    """Ages that are looked up at the end of a step, and undo it the first time."""

    broken = False

    def __getitem__(self, kind: str) -> Millis:
        raise KeyError(kind)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        if not self.broken:
            self.broken = True
            raise ValueError("a value that the database refuses")
        return iter(())


async def test_what_a_step_found_that_was_undone_is_found_by_the_next_one(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    for _ in range(5):
        await scene.deliver(application, endpoint)
    scene.pass_time(2 * DAY)
    await scene.publish(await scene.application())
    ages = Ages(payloads=DAY, attempts=DAY, messages=DAY, ended=BreaksOnce())
    with pytest.raises(StoreError, match="refuses"):
        await store.prune(ages, now=scene.now, limit=100)
    assert await scene.prune(ages) == Pruned(payloads=5, attempts=5, messages=5)


@dataclass
class Crowd:
    """Those who fill a store's room as fast as they are answered."""

    store: Store
    refused: int = 0

    async def press(self, until: asyncio.Task[object]) -> None:
        """Go on until that is done."""
        for number in itertools.count():
            if until.done():
                return
            draft = ApplicationDraft(name=f"shop {number}")
            made = await asyncio.gather(
                *(
                    self.store.create_application(ORGANIZATION, draft, now=FakeClock().now())
                    for _ in range(10)
                ),
                return_exceptions=True,
            )
            self.refused += sum(isinstance(one, OverloadedError) for one in made)


async def test_a_step_is_not_refused_for_want_of_room(ground: Ground) -> None:
    async with ground.opened(FakeClock(), wait_s=20.0, waiting_rows=1) as store:
        scene = Scene(store)
        crowd = Crowd(store)

        async def steps() -> None:
            for _ in range(20):
                await store.prune(Ages(payloads=1, attempts=1, messages=1), now=scene.now, limit=9)

        pruning = asyncio.create_task(steps())
        await crowd.press(pruning)
        await pruning
    assert crowd.refused
