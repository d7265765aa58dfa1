"""Nodes that share a PostgreSQL: who lives, who has which slots, and what they tell one another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from marketbell.clock import SystemClock
from marketbell.errors import UnavailableError
from marketbell.model import SLOTS
from marketbell.store.nodes import PostgresNodes
from marketbell.store.nodes_plane import NodeDraft, Nodes, Seen
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.sole_node import SoleNode
from support.postgres import PostgresServer

LEASE = 3_500

Open = Callable[[], PostgresNodes]


def draft(name: str = "n", role: str = "all", lease: int = 60_000) -> NodeDraft:
    return NodeDraft(name=name, role=role, version="1", lease=lease)


@pytest.fixture
async def opened(migrated_url: str) -> AsyncIterator[Callable[..., PostgresNodes]]:
    made: list[PostgresNodes] = []

    def open_nodes(lease: int = 60_000, *, pooled: bool = False) -> PostgresNodes:
        nodes = PostgresNodes(PostgresOptions(url=migrated_url, pooled=pooled), lease=lease)
        made.append(nodes)
        return nodes

    yield open_nodes
    for nodes in made:
        await nodes.aclose()


async def seen_by(nodes: Nodes, node_id: int, *, leaving: bool = False) -> Seen:
    return await nodes.beat(node_id, leaving=leaving, fit=True, skew=0)


def owners(seen: Seen) -> set[int]:
    return {owner for owner, _fence in seen.slots}


async def test_a_sole_node_has_every_slot() -> None:
    nodes = SoleNode(SystemClock())
    made = await nodes.register(draft())
    seen = await seen_by(nodes, made.id)
    assert seen.known
    assert owners(seen) == {made.id}
    assert len(seen.slots) == SLOTS
    assert nodes.alone


async def test_each_node_has_a_number_of_its_own_and_sees_the_others(opened: Open) -> None:
    nodes = opened()
    made = [await nodes.register(draft(role=role)) for role in ("all", "api", "worker")]
    assert len({one.number for one in made}) == 3
    seen = await seen_by(nodes, made[0].id, leaving=True)
    assert [(one.id, one.worker, one.leaving) for one in seen.nodes] == [
        (made[0].id, True, False),  # it sees what was so before
        (made[1].id, False, False),
        (made[2].id, True, False),
    ]
    assert all(0 < one.left <= 60_000 for one in seen.nodes)
    assert seen.known
    assert seen.up >= 0
    assert owners(seen) == {0}
    assert [one.leaving for one in (await seen_by(nodes, made[1].id)).nodes] == [True, False, False]


async def test_numbers_are_given_in_a_circle(opened: Open) -> None:
    nodes = opened()
    first = await nodes.register(draft())
    await nodes.leave(first.id)
    assert (await nodes.register(draft())).number != first.number


async def test_a_slot_is_taken_by_one_node_alone(opened: Open) -> None:
    one, other = opened(), opened()
    a, b = await one.register(draft()), await other.register(draft())
    fences = dict.fromkeys(range(SLOTS), 0)
    taken = await asyncio.gather(one.take(a.id, fences), other.take(b.id, fences))
    assert taken[0].keys().isdisjoint(taken[1])
    assert taken[0].keys() | taken[1].keys() == fences.keys()
    seen = await seen_by(one, a.id)
    for node, had in ((a.id, taken[0]), (b.id, taken[1])):
        assert {slot: f for slot, (owner, f) in enumerate(seen.slots) if owner == node} == had
    assert set(taken[0].values()) | set(taken[1].values()) == {1}


async def test_what_a_living_node_has_is_not_to_be_had(opened: Open) -> None:
    nodes = opened()
    a, b = await nodes.register(draft()), await nodes.register(draft())
    taken = await nodes.take(a.id, {0: 0, 1: 0})
    assert await nodes.take(b.id, taken) == {}
    assert await nodes.take(a.id, taken) == {0: 2, 1: 2}  # its own again, by new fences
    assert await nodes.take(a.id, taken) == {}


async def test_a_lost_nodes_slots_are_taken_and_its_fences_are_void(
    opened: Callable[..., PostgresNodes],
) -> None:
    frozen, other = opened(LEASE), opened()
    a = await frozen.register(draft(lease=LEASE))
    b = await other.register(draft())
    held = await frozen.take(a.id, {7: 0})
    assert await other.take(b.id, held) == {}
    left = (await seen_by(other, b.id)).nodes[0].left
    assert left <= LEASE
    await asyncio.sleep(left / 1000 + 0.005)  # the database's own clock, which no test can turn
    assert await other.take(b.id, held) == {7: 2}
    assert await frozen.take(a.id, held) == {}
    await frozen.give_up(a.id, held)
    seen = await seen_by(frozen, a.id)
    assert seen.slots[7] == (b.id, 2)
    assert seen.known


async def test_slots_that_are_given_up_are_free_at_once(opened: Open) -> None:
    nodes = opened()
    a, b = await nodes.register(draft()), await nodes.register(draft())
    await nodes.take(a.id, dict.fromkeys(range(4), 0))
    await nodes.give_up(b.id, [0, 1])
    await nodes.give_up(a.id, [2])
    seen = await seen_by(nodes, a.id)
    assert seen.slots[:4] == ((a.id, 1), (a.id, 1), (0, 2), (a.id, 1))
    await nodes.leave(a.id)
    seen = await seen_by(nodes, b.id)
    assert seen.slots[:4] == ((0, 2), (0, 2), (0, 2), (0, 2))
    assert [one.id for one in seen.nodes] == [b.id]
    assert not (await seen_by(nodes, a.id)).known
    assert await nodes.take(a.id, {0: 2}) == {}


async def test_every_node_is_told_where_there_is_a_direct_connection(
    opened: Callable[..., PostgresNodes],
) -> None:
    one, other, deaf = opened(), opened(), opened(pooled=True)
    heard: dict[str, list[str]] = {"one": [], "other": [], "deaf": []}
    came = asyncio.Semaphore(0)
    for name, nodes in (("one", one), ("other", other)):
        nodes.on_told(heard[name].append)
        nodes.on_told(lambda text: came.release() if text == "hello" else None)
    deaf.on_told(heard["deaf"].append)
    for nodes in (one, other, deaf):
        await nodes.time()
    assert (one.told, other.told, deaf.told) == (True, True, False)
    await deaf.tell("hello")
    async with asyncio.timeout(60):
        await came.acquire()
        await came.acquire()
    assert heard == {"one": ["", "hello"], "other": ["", "hello"], "deaf": []}


async def test_time_is_the_databases(opened: Callable[..., PostgresNodes]) -> None:
    nodes = opened(pooled=True)
    now = SystemClock().now()
    assert now - 5 <= await nodes.time() <= SystemClock().now() + 5


async def test_a_database_that_does_not_answer_is_given_up_within_a_third_of_a_lease() -> None:
    with PostgresServer() as server:
        url = server.url(server.create_database())
        nodes = PostgresNodes(PostgresOptions(url=url), lease=4_500)
        await nodes.time()
        server.freeze()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(UnavailableError):
            await nodes.time()
        assert loop.time() - begun < 4.5
        server.thaw()
        end = loop.time() + 60
        while loop.time() < end:
            with contextlib.suppress(UnavailableError):
                await nodes.time()
                break
        assert nodes.told
        await nodes.aclose()
