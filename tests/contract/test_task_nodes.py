"""Background tasks where there are many nodes: what a lost one had begun goes on within seconds."""

from __future__ import annotations

from marketbell.model import SLOTS
from marketbell.store.postgresql_store import PostgresStore
from marketbell.testing import FakeClock
from marketbell.testing.stores import Scene
from support.grounds import PostgresGround
from support.tasks import MINUTE, begin, failed, manual, run, step


async def test_a_step_that_a_lost_node_had_begun_is_another_ones_at_once(
    many: PostgresGround,
) -> None:
    clock = FakeClock()
    async with many.opened(clock, node=0) as lost, many.opened(clock, node=1) as left:
        here, there = (Scene(store, now=clock.now()) for store in (lost, left))
        application, endpoint = await here.seller()
        wanted = [await failed(here, application, endpoint) for _ in range(5)]
        await begin(here, endpoint)
        claimed = await lost.claim_task(now=here.now, lease_until=here.now + MINUTE)
        assert claimed is not None
        assert await left.claim_task(now=there.now, lease_until=there.now + MINUTE) is None
        # Its slots are taken over.
        assert isinstance(left, PostgresStore)
        await left.lose_claims(range(SLOTS), now=there.now, lost_max=20)
        await run(there)
        # It was not lost after all: its step is stale.
        assert not await step(here, claimed)
        assert await manual(there) == wanted
