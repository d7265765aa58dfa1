"""Nodes come, go, freeze and wake, and no slot is ever served by two of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Self
from urllib.parse import urlsplit

import pytest

from marketbell.delivery.membership import Membership, Terms
from marketbell.delivery.tenure import Tenure
from marketbell.errors import MarketbellError, UnavailableError
from marketbell.model import SLOTS
from marketbell.store.nodes import PostgresNodes
from marketbell.store.nodes_plane import NodeDraft, Seen
from marketbell.store.postgresql import PostgresOptions
from support.eventually import PATIENCE_S
from support.postgres import PostgresServer

LEASE = 300
"""So short that it runs out soon; any node may lose it by chance, where its machine stands still."""
LONG = 60_000
"""Nobody loses it."""
HEARTBEAT = 40
NEVER = 3_600_000
"""A node that gives signs of life only when a test or another node wants one."""


class Freezing(PostgresNodes):
    """Nodes whose calls hang, before they are made or before their answer is seen, while frozen."""

    def __init__(self, url: str, lease: int) -> None:
        super().__init__(PostgresOptions(url=url), lease=3_000 * int(PATIENCE_S))
        self._lease = lease  # short or not, the database has time to answer
        self.going = asyncio.Event()
        self.going.set()

    async def beat(self, node_id: int, *, leaving: bool, fit: bool, skew: int) -> Seen:
        await self.going.wait()
        seen = await super().beat(node_id, leaving=leaving, fit=fit, skew=skew)
        await self.going.wait()
        return seen

    async def take(self, node_id: int, fences: Mapping[int, int]) -> dict[int, int]:
        await self.going.wait()
        taken = await super().take(node_id, fences)
        await self.going.wait()
        return taken


class Member:
    """A node with requests under way in its slots."""

    def __init__(self, world: World, nodes: Freezing) -> None:
        self.world = world
        self.nodes = nodes
        self.tenure = Tenure(time.monotonic)
        self.under_way: Counter[int] = Counter()
        self.lost_claims: list[int] = []
        self.membership: Membership

    async def join(self, role: str = "all") -> None:
        terms = self.world.terms
        draft = NodeDraft(name="n", role=role, version="1", lease=terms.lease)
        made = await self.nodes.register(draft)
        self.membership = Membership(
            self.nodes,
            draft,
            made,
            tenure=self.tenure,
            serving=self,
            terms=terms,
            monotonic=time.monotonic,
            lose_claims=self.lose_claims,
            on_freed=self.world.ring,
        )
        await self.membership.start()

    async def leave(self) -> None:
        self.membership.leave()
        async with asyncio.timeout(PATIENCE_S):
            while self.tenure.slots or self.under_way:
                await self.world.passed()
        await self.membership.stop()
        await self.nodes.aclose()

    @property
    def frozen(self) -> bool:
        return not self.nodes.going.is_set()

    # -- Serving

    def lose(self, slots: Collection[int]) -> None:
        assert self.tenure.slots.isdisjoint(slots)

    def gain(self, slots: Collection[int]) -> None:
        pass

    def settle(self, slots: Collection[int]) -> frozenset[int]:
        return frozenset(slot for slot in slots if self.under_way[slot])

    def flying(self, slots: Collection[int]) -> frozenset[int]:
        return self.settle(slots)

    async def lose_claims(self, slots: Collection[int]) -> int:
        self.lost_claims += slots
        return 0


class World:
    """Members on one database, for `async with`, and what is checked at every step."""

    def __init__(
        self, url: str, seed: int, *, lease: int = LONG, heartbeat: int = HEARTBEAT
    ) -> None:
        self.url = url
        self.terms = Terms(lease=lease, heartbeat=heartbeat, claim_lease=60_000)
        self.chance = random.Random(seed)
        self.members: list[Member] = []
        self.served: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, failed: type[BaseException] | None, *_: object) -> None:
        for member in self.members:
            member.nodes.going.set()
        for member in list(self.members):
            if failed is None:
                await member.leave()
            else:  # whatever has failed, the next test finds nothing of it
                with contextlib.suppress(MarketbellError):
                    await member.membership.stop()
                await member.nodes.aclose()
        if self._tasks:
            await asyncio.gather(*self._tasks)

    async def join(self, role: str = "all") -> Member:
        member = Member(self, Freezing(self.url, self.terms.lease))
        try:
            await member.join(role)
        except BaseException:
            await member.nodes.aclose()
            raise
        self.members.append(member)
        return member

    def ring(self) -> None:
        for member in self.members:
            member.membership.ring()

    async def passed(self, seconds: float = 0.002) -> None:
        """Let a moment pass, in which requests begin and end."""
        self.check()
        for member in self.members:
            if not member.frozen and (slots := member.tenure.slots):
                slot = self.chance.choice(tuple(slots))
                task = asyncio.create_task(self.request(member, slot))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(seconds)

    async def request(self, member: Member, slot: int) -> None:
        if slot not in member.tenure.slots:  # the machine may have stood still since it was chosen
            return
        for other in self.members:
            if other is not member and not other.frozen:
                assert not other.under_way[slot], f"slot {slot} is served by two"
        member.under_way[slot] += 1
        self.served[slot] += 1
        await asyncio.sleep(self.chance.random() * 0.02)
        member.under_way[slot] -= 1
        member.under_way += Counter()

    def check(self) -> None:
        owned = [member.tenure.slots for member in self.members]
        assert sum(map(len, owned)) == len(frozenset().union(*owned)), "a slot has two owners"

    async def until_even(self, count: int) -> None:
        """Wait until so many members share all slots."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                shares = [len(member.tenure.slots) for member in self.members]
                some = [share for share in shares if share]
                if sum(some) == SLOTS and len(some) == count and max(some) - min(some) <= 1:
                    return
                await self.passed()


@pytest.mark.parametrize("seed", [1])
async def test_no_slot_has_two_owners_whoever_comes_goes_or_freezes(
    migrated_url: str, seed: int
) -> None:
    async with World(migrated_url, seed, lease=LEASE) as world:
        chance = world.chance
        await world.join()
        end = time.monotonic() + 3
        while time.monotonic() < end or world.served.total() <= 500:
            for _ in range(chance.randint(5, 60)):
                await world.passed()
            what = chance.random()
            if what < 0.35 and len(world.members) < 5:
                await world.join()
            elif what < 0.55 and len(world.members) > 1:
                member = chance.choice(world.members)
                if not member.frozen:
                    await member.leave()
                    world.members.remove(member)
            elif what < 0.8:
                chance.choice(world.members).nodes.going.clear()
            else:
                for member in world.members:
                    member.nodes.going.set()
        for member in world.members:
            member.nodes.going.set()
        await world.until_even(len(world.members))


async def test_a_joining_node_gets_its_share_and_a_slot_waits_for_what_is_under_way(
    migrated_url: str,
) -> None:
    async with World(migrated_url, 3) as world:
        first = await world.join()
        assert len(first.tenure.slots) == SLOTS
        busy = max(first.tenure.slots)  # the highest are given up
        first.under_way[busy] = 1
        second = await world.join()
        async with asyncio.timeout(PATIENCE_S):
            while len(second.tenure.slots) < SLOTS // 2 - 1:
                world.check()
                await second.membership.look()
        assert busy not in first.tenure.slots | second.tenure.slots
        del first.under_way[busy]
        await world.until_even(2)
        assert busy in second.tenure.slots
        assert set(second.lost_claims) == second.tenure.slots  # whatever was left there is lost


async def test_an_api_node_has_no_slots(migrated_url: str) -> None:
    async with World(migrated_url, 4) as world:
        api = await world.join("api")
        assert not api.tenure.slots
        worker = await world.join("worker")
        assert len(worker.tenure.slots) == SLOTS
        await api.membership.look()
        assert len(list(api.membership.alive)) == 2
        assert not api.tenure.slots


async def test_a_node_that_was_away_keeps_what_nobody_took_by_new_fences(migrated_url: str) -> None:
    async with World(migrated_url, 5, lease=LEASE) as world:
        only = await world.join()
        only.lost_claims.clear()
        only.nodes.going.clear()
        await asyncio.sleep(LEASE / 1000)
        assert not only.tenure.slots
        assert not only.tenure.holds
        only.nodes.going.set()
        await world.until_even(1)
        assert only.lost_claims == []  # its own claims are good still


async def test_nodes_that_were_all_away_take_nothing_from_one_another(migrated_url: str) -> None:
    lease = 2_500  # longer than the nodes may be apart in coming back
    async with World(migrated_url, 6, lease=lease) as world:
        members = [await world.join() for _ in range(3)]
        await world.until_even(3)
        before = [member.tenure.slots for member in members]
        for member in members:
            member.lost_claims.clear()
            member.nodes.going.clear()
        await asyncio.sleep(1.2 * lease / 1000)  # as if the database had been away
        for member in members:
            member.nodes.going.set()
            await asyncio.sleep(0.03)
        await world.until_even(3)
        assert [member.tenure.slots for member in members] == before
        assert not any(member.lost_claims for member in members)


async def test_a_node_that_was_forgotten_joins_anew(migrated_url: str) -> None:
    async with World(migrated_url, 7, heartbeat=NEVER) as world:
        only = await world.join()
        before = only.membership.node_id
        await only.nodes.leave(before)  # as whoever joins does with one that was away for an hour
        await only.membership.look()
        assert not only.tenure.slots
        await world.until_even(1)
        assert only.membership.node_id != before
        assert only.tenure.node_id == only.membership.node_id


async def test_slots_whose_claims_cannot_be_lost_yet_are_not_served(migrated_url: str) -> None:
    async with World(migrated_url, 8) as world:
        member = Member(world, Freezing(migrated_url, world.terms.lease))
        failing = True

        async def lose_claims(_slots: Collection[int]) -> int:
            if failing:
                raise UnavailableError("The store is away.")
            return 0

        member.lose_claims = lose_claims  # type: ignore[assignment]
        await member.join()
        world.members.append(member)
        assert not member.tenure.slots
        failing = False
        await world.until_even(1)


async def test_slots_that_were_taken_in_vain_are_left_to_whom_they_are_due_by_now(
    migrated_url: str,
) -> None:
    async with World(migrated_url, 9) as world:
        first = Member(world, Freezing(migrated_url, world.terms.lease))
        failing = True

        async def lose_claims(_slots: Collection[int]) -> int:
            if failing:
                raise UnavailableError("The store is away.")
            return 0

        first.lose_claims = lose_claims  # type: ignore[assignment]
        await first.join()  # it has all of them by name, and serves none
        world.members.append(first)
        await world.join()
        failing = False
        await world.until_even(2)


async def test_who_is_refused_on_each_new_connection_asks_again_after_a_pause(
    migrated_url: str, postgres: PostgresServer
) -> None:
    beats = 0

    class Counted(Freezing):
        async def beat(self, node_id: int, *, leaving: bool, fit: bool, skew: int) -> Seen:
            nonlocal beats
            beats += 1
            return await super().beat(node_id, leaving=leaving, fit=fit, skew=skew)

    read_only = (
        f'alter database "{urlsplit(migrated_url).path[1:]}" set default_transaction_read_only = '
    )
    async with World(migrated_url, 10, heartbeat=NEVER) as world:
        only = Member(world, Counted(migrated_url, world.terms.lease))
        await only.join()
        world.members.append(only)
        only.nodes.on_told(lambda _text: only.membership.ring())
        postgres.execute(read_only + "on")  # as a replica is that has taken the primary's address
        await only.nodes.aclose()
        beats = 0
        only.membership.ring()
        await asyncio.sleep(2.0)
        postgres.execute(read_only + "off")
        assert 1 < beats <= 2.0 / 0.25 + 1
