"""Figures of endpoints equal a full scan of the deliveries, whatever happened and wherever it crashed."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from marketbell.errors import MarketbellError
from marketbell.model import (
    Application,
    Attempt,
    Claim,
    DeliveryState,
    Endpoint,
    Message,
    Outcome,
)
from marketbell.store.base import Ages, EndpointFigures, MessageFilter, Page, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.grounds import Grounds

HOUR = 3_600_000
DAY = 24 * HOUR
AGES = Ages(payloads=DAY, attempts=DAY, messages=900 * DAY)
STEPS = "ppppcccrrrrrrrllLssssxxfftde"


class Life:
    """What happens to two endpoints, by chance."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.application: Application | None = None
        self.endpoints: list[Endpoint] = []
        self._messages: list[Message] = []
        self._claims: list[Claim] = []
        self._attempts: list[tuple[Claim, Attempt]] = []
        self.now = START

    async def lead(self, store: Store, steps: int) -> None:
        """Go on in this store for so many steps, looking at the figures now and then."""
        scene = Scene(store, now=self.now)
        if self.application is None:
            self.application = await scene.application()
            self.endpoints = [await scene.endpoint(self.application) for _ in range(2)]
        for _ in range(steps):
            with suppress(MarketbellError):  # what is refused must count nothing
                await self._step(scene, self.application, self._random.choice(STEPS))
            if self._random.random() < 0.2:
                await self.compare(store)
        await self.compare(store)
        self.now = scene.now

    async def compare(self, store: Store) -> None:
        """Both ways to count give the same."""
        for endpoint in self.endpoints:
            part = await store.deliveries(
                endpoint.application_id, endpoint.id, MessageFilter(), Page(limit=10_000)
            )
            count = Counter(row.state for row in part.data)
            found = await store.endpoint_figures(
                endpoint.id, since=START - DAY, until=START + 100 * DAY
            )
            assert part.done
            assert found == EndpointFigures(
                delivered=count[DeliveryState.DELIVERED],
                pending=count[DeliveryState.PENDING],
                sending=count[DeliveryState.SENDING],
                failed=count[DeliveryState.FAILED],
                cancelled=count[DeliveryState.CANCELLED],
            )

    async def _step(self, scene: Scene, application: Application, step: str) -> None:
        random, store = self._random, scene.store
        if step == "p":
            to = random.sample(self.endpoints, random.randrange(3))
            if random.random() < 0.5:
                published = await scene.publish(application, *to, lease=60_000)
            else:
                published = await scene.publish(application, *to, order_key=b"k")
            self._messages.append(published.message)
            self._claims += published.claims
        elif step == "c":
            self._claims += await scene.claim()
        elif step == "t":
            scene.pass_time(random.choice((1_000, 70_000, HOUR, -HOUR, 2 * DAY)))
        elif step == "f":
            await store.follow_figures(
                now=scene.now, age=900 * DAY, bytes_max=random.choice((60, 1_000_000))
            )
        elif step == "d":
            await scene.update(self.endpoints[0], disabled=random.random() < 0.5)
        elif step == "e":
            await scene.prune(AGES)
        elif step in "rl" and self._claims:
            late = step == "l"
            await self._record(scene, random.choice(self._claims if late else self._claims[-6:]))
        elif step == "L" and self._attempts:
            claim, attempt = random.choice(self._attempts)
            await scene.record(claim, public_id=attempt.public_id)
        elif step in "sx" and self._messages:
            ref = random.choice(self._messages).public_id
            if step == "s":
                endpoint = random.choice(self.endpoints).public_id
                await store.resend(application.id, ref, endpoint, now=scene.now)
            else:
                await store.expunge_payload(application.id, ref, now=scene.now)

    async def _record(self, scene: Scene, claim: Claim) -> None:
        way = self._random.randrange(5)
        if way < 2:
            attempt = await scene.record(claim)
        elif way == 2:
            attempt = await scene.record(claim, 500, hold_key=claim.order_key is not None)
        elif way == 3:
            attempt = await scene.record(claim, 500, again_at=scene.now + 5_000)
        else:
            attempt = await scene.record(claim, 0, outcome=Outcome.CLOSED, again_at=scene.now)
        self._attempts.append((claim, attempt))


async def live(grounds: Grounds, seed: int, lives: list[int]) -> None:
    """Some lives, each of which ends with a crash."""
    with grounds.fresh() as first:
        ground = first
        life = Life(Random(seed))
        for steps in lives:
            async with ground.opened() as store:
                await life.lead(store, steps)
                ground = ground.after_a_crash()


def test_the_figures_are_those_of_a_full_scan(grounds: Grounds) -> None:
    @grounds.examples(15)
    @given(seed=st.integers(0, 2**32), lives=st.lists(st.integers(5, 50), min_size=1, max_size=3))
    def holds(seed: int, lives: list[int]) -> None:
        asyncio.run(live(grounds, seed, lives))

    holds()
