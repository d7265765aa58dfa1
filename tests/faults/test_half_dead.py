"""A node that lives and cannot work: others have its endpoints until it can, and it has its share again."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Final

import httpx
import pytest

from marketbell.delivery.fitness import Fitness, Work
from marketbell.delivery.membership import Membership, Terms
from marketbell.delivery.tenure import Tenure
from marketbell.errors import UnavailableError
from marketbell.store.nodes import PostgresNodes
from marketbell.store.nodes_plane import NodeDraft, Seen
from marketbell.store.postgresql import PostgresOptions
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.cluster import SLOTS, Cluster, cluster
from support.eventually import eventually
from support.proxy import Line, TcpProxy
from support.server import Server

ENDPOINTS: Final = 16
LIMIT_S: Final = 60.0
HALF: Final = SLOTS // 2
TERMS: Final = Terms(lease=20_000, heartbeat=3_600_000, claim_lease=600_000)
LEASE_S: Final = TERMS.lease // 1000
BOUND_S: Final = 30
SETTINGS: Final = {
    "MARKETBELL_NODE_LEASE": "4s",
    "MARKETBELL_NODE_HEARTBEAT": "200ms",
    "MARKETBELL_DB_STATEMENT_TIMEOUT": "3s",
    "MARKETBELL_DB_CONNECT_TIMEOUT": "3s",
}


class Shop:
    """A receiver's script that knows which messages came by which path."""

    def __init__(self) -> None:
        self.came: Counter[tuple[str, str]] = Counter()

    async def __call__(self, request: Received) -> Answer:
        self.came[request.target, request.header("webhook-id") or ""] += 1
        return OK

    def whole(self, message: str) -> bool:
        """Whether every endpoint has had it."""
        return sum(1 for _path, of in self.came if of == message) == ENDPOINTS


async def make(server: Server, http: httpx.AsyncClient, url: str) -> str:
    """An application with ENDPOINTS endpoints, each a path of the receiver; its id."""
    await server.call(http, "POST", "/event-type", {"name": "a.b", "description": "a"})
    made = await server.call(http, "POST", "/app", {"name": "Shop"})
    for number in range(ENDPOINTS):
        path = f"/app/{made['id']}/endpoint"
        await server.call(http, "POST", path, {"url": f"{url}{number}"})
    return str(made["id"])


async def publish(server: Server, http: httpx.AsyncClient, application: str) -> str:
    """A message for all of them; its id."""
    body = {"eventType": "a.b", "payload": {"n": 1}}
    return str((await server.call(http, "POST", f"/app/{application}/msg", body))["id"])


async def slots(nodes: Cluster, http: httpx.AsyncClient, wanted: list[float]) -> None:
    """Return once the nodes have so many slots each."""
    await nodes.until(
        http, "marketbell_slots_owned", lambda owned: owned == wanted, limit_s=LIMIT_S
    )


async def health(nodes: Cluster, http: httpx.AsyncClient) -> list[tuple[int, str | None]]:
    """What each node says of itself, and when to ask again."""
    answers = [await http.get(f"{url}/api/v1/health") for url in nodes.urls]
    return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]


async def test_another_node_has_its_endpoints_until_it_can_work_again(
    migrated_url: str, tmp_path: Path
) -> None:
    shop = Shop()
    with TcpProxy.before(migrated_url) as proxy:
        async with (
            TestReceiver(shop) as receiver,
            cluster(migrated_url, tmp_path, 1, **SETTINGS) as (nodes, http),
        ):
            # Signs of life, and what others tell, have a way of their own past the proxy.
            (half,) = await nodes.start(
                1, MARKETBELL_DB=proxy.url(migrated_url), MARKETBELL_DB_DIRECT=migrated_url
            )
            await nodes.settled(http, limit_s=LIMIT_S)
            whole = nodes.nodes[0]
            application = await make(whole, http, receiver.url)
            first = await publish(whole, http, application)
            await eventually(lambda: shop.whole(first))
            proxy.put(Line(stalled=True))
            # Half of these wait for a node that counts as alive all the time.
            second = await publish(whole, http, application)
            await eventually(lambda: shop.whole(second))
            await slots(nodes, http, [SLOTS, 0])
            assert await nodes.gauge(http, "marketbell_nodes") == [2, 2]
            assert await nodes.gauge(http, "marketbell_node_unfit") == [0, 1]
            assert await health(nodes, http) == [(200, None), (503, "1")]
            proxy.put(Line())
            await slots(nodes, http, [SLOTS / 2, SLOTS / 2])
            assert await nodes.gauge(http, "marketbell_node_unfit") == [0, 0]
            assert await health(nodes, http) == [(200, None)] * 2
            third = await publish(half, http, application)
            await eventually(lambda: shop.whole(third))
            assert "slots go to nodes whose work gets through" in half.log.read_text()
            assert await asyncio.gather(*(nodes.stop(number) for number in range(2))) == [0, 0]


class Nodes(PostgresNodes):
    """Tells of signs of life."""

    def __init__(self, url: str) -> None:
        super().__init__(PostgresOptions(url=url), lease=TERMS.lease)
        self.beaten = asyncio.Event()

    async def beat(self, node_id: int, *, leaving: bool, fit: bool, skew: int) -> Seen:
        seen = await super().beat(node_id, leaving=leaving, fit=fit, skew=skew)
        self.beaten.set()
        return seen


class Member:
    """A node whose work gets through or not as the test says, on a clock of the test's."""

    def __init__(self, url: str, monotonic: Callable[[], float]) -> None:
        self.nodes = Nodes(url)
        self.fitness = Fitness(monotonic, BOUND_S)
        self.tenure = Tenure(monotonic, fitness=self.fitness)
        self.under_way: set[int] = set()
        self.unsettled: set[int] = set()
        self.gained = 0
        self.works = True
        self._monotonic = monotonic
        self.membership: Membership

    async def join(self) -> None:
        draft = NodeDraft(name="n", role="all", version="1", lease=TERMS.lease)
        self.membership = Membership(
            self.nodes,
            draft,
            await self.nodes.register(draft),
            tenure=self.tenure,
            serving=self,
            terms=TERMS,
            monotonic=self._monotonic,
            lose_claims=self.lose_claims,
        )
        await self.membership.start()

    async def look(self) -> None:
        """Give a sign of life and act on what is seen."""
        self.nodes.beaten.clear()
        self.membership.ring()
        async with asyncio.timeout(LIMIT_S):
            await self.nodes.beaten.wait()

    def ask(self, work: Work = Work.CLAIMS) -> None:
        """Ask the store for something."""
        with contextlib.suppress(UnavailableError), self.fitness.asking(work):
            if not self.works:
                raise UnavailableError("The store gives nothing.")

    async def lose_claims(self, slots: Collection[int]) -> int:
        self.ask(Work.SLOTS)
        if not self.works:
            raise UnavailableError("The store gives nothing.")
        return 0

    # -- Serving

    def lose(self, slots: Collection[int]) -> None:
        assert self.tenure.slots.isdisjoint(slots)

    def gain(self, slots: Collection[int]) -> None:
        self.gained += 1

    def settle(self, slots: Collection[int]) -> frozenset[int]:
        return frozenset(slots) & (self.under_way | self.unsettled)

    def flying(self, slots: Collection[int]) -> frozenset[int]:
        return frozenset(slots) & self.under_way


class World:
    """Members on one database, and the time that passes for them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now_s = 1_000.0
        self.members: list[Member] = []

    async def join(self) -> Member:
        member = Member(self.url, lambda: self.now_s)
        await member.join()
        self.members.append(member)
        return member

    async def pass_time(self, seconds: float) -> None:
        """Let every second each member ask for work and give a sign of life."""
        for _ in range(int(seconds)):
            self.now_s += 1
            for member in self.members:
                if member.tenure.slots or not member.fitness.fit:
                    member.ask()
                await member.look()

    async def shares(self, *wanted: int) -> None:
        """Return once the members have so many slots each that they serve."""
        async with asyncio.timeout(LIMIT_S):
            while self.owned != list(wanted):
                for member in self.members:
                    await member.look()

    @property
    def fit(self) -> list[bool]:
        return [member.fitness.fit for member in self.members]

    @property
    def owned(self) -> list[int]:
        return [len(member.tenure.slots) for member in self.members]

    async def owners(self) -> list[int | None]:
        """Which member each slot belongs to, as the database has it."""
        first = self.members[0]
        seen = await first.nodes.beat(
            first.membership.node_id, leaving=False, fit=first.fitness.fit, skew=0
        )
        ids = [member.membership.node_id for member in self.members]
        return [ids.index(owner) if owner else None for owner, _fence in seen.slots]

    async def end(self) -> None:
        for member in self.members:
            await member.membership.stop()
            await member.nodes.aclose()


@pytest.fixture
async def world(migrated_url: str) -> AsyncIterator[World]:
    made = World(migrated_url)
    yield made
    await made.end()


async def test_who_is_unfit_gives_all_and_is_given_its_share_after_a_rest(world: World) -> None:
    await world.join()
    second = await world.join()
    await world.shares(HALF, HALF)
    await world.pass_time(60)
    second.works = False
    await world.pass_time(BOUND_S - 1)
    assert world.fit == [True, True]
    await world.pass_time(2)
    assert world.fit == [True, False]
    # Perhaps the others find the same in a moment.
    await world.pass_time(LEASE_S - 2)
    assert world.owned == [HALF, HALF]
    await world.pass_time(2)
    await world.shares(SLOTS, 0)
    assert set(await world.owners()) == {0}
    # It asks, with nothing to serve, whether there is an answer again.
    second.gained = 0
    await world.pass_time(100)
    assert second.gained >= 100
    assert world.owned == [SLOTS, 0]
    second.works = True
    await world.pass_time(BOUND_S - 1)
    assert world.owned == [SLOTS, 0]
    await world.pass_time(2)
    assert world.fit == [True, True]
    await world.shares(HALF, HALF)


async def test_it_waits_for_what_is_sent_and_not_for_what_cannot_be_kept(world: World) -> None:
    await world.join()
    second = await world.join()
    await world.shares(HALF, HALF)
    await world.pass_time(60)
    flying, unsettled = sorted(second.tenure.slots)[:2]
    second.under_way, second.unsettled = {flying}, {unsettled}
    second.works = False
    await world.pass_time(BOUND_S + LEASE_S + 1)
    await world.shares(SLOTS - 1, 0)
    assert (await world.owners())[flying] == 1
    second.under_way.clear()
    await world.shares(SLOTS, 0)


async def test_where_none_can_work_nothing_moves_and_all_go_on(world: World) -> None:
    members = [await world.join() for _ in range(3)]
    await world.shares(342, 341, 341)
    await world.pass_time(60)
    before = await world.owners()
    for member in members:
        member.works = False
    await world.pass_time(100)
    assert world.fit == [False] * 3
    assert await world.owners() == before
    # They recover one after the other, and need not rest.
    for member in members:
        member.works = True
        await world.pass_time(5)
        assert member.fitness.fit
        assert await world.owners() == before
    await world.pass_time(LEASE_S)
    assert world.owned == [342, 341, 341]


async def test_where_one_recovers_alone_it_has_all_after_a_lease(world: World) -> None:
    first, second = await world.join(), await world.join()
    await world.shares(HALF, HALF)
    first.works = second.works = False
    await world.pass_time(60)
    first.works = True
    await world.pass_time(5)
    assert world.owned == [HALF, HALF]
    await world.pass_time(LEASE_S)
    await world.shares(SLOTS, 0)


async def test_who_cannot_begin_to_serve_what_it_has_taken_gives_it_back(world: World) -> None:
    first = await world.join()
    await world.shares(SLOTS)
    await world.pass_time(60)
    second = Member(world.url, lambda: world.now_s)
    second.works = False
    world.members.append(second)
    await second.join()
    async with asyncio.timeout(LIMIT_S):
        while 1 not in await world.owners():
            await first.look()
            await second.look()
    assert world.owned[1] == 0
    await world.pass_time(BOUND_S + LEASE_S + 1)
    assert not second.fitness.fit
    await world.shares(SLOTS, 0)


async def test_an_outage_of_the_whole_database_makes_nobody_unfit(world: World) -> None:
    only = await world.join()
    await world.join()
    await world.shares(HALF, HALF)
    only.works = False
    only.ask()
    world.now_s += 10 * BOUND_S  # in which no sign of life went through
    await only.look()
    assert only.fitness.fit
