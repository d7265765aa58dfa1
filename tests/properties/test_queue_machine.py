"""The real store against a model of dicts: workers, lost claims, jumping clocks, crashes, resends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from marketbell.errors import ConflictError
from marketbell.model import Claim, DeliveryState, Endpoint, Outcome, Verdict
from marketbell.store.base import (
    Ages,
    Birth,
    ClaimRequest,
    EndpointDraft,
    Publication,
    Published,
    Result,
    Store,
)
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene
from support.postgres import PostgresServer
from support.queue_checks import (
    check_attempts,
    check_deliveries,
    check_ends,
    check_lanes,
    lanes,
)
from support.queue_model import Pair, QueueModel
from support.queue_stores import OneFile, QueueStores, ThreeNodes

T = TypeVar("T")

ENDPOINTS = 2
KEYS = (None, None, b"a" * 16, b"b" * 16)
LEASE = 5_000
DAY = 86_400_000
LOST_MAX = 3
ALL = 1_000
AGES = Ages(payloads=3_650 * DAY, attempts=3_650 * DAY, messages=3_650 * DAY)
VERDICTS = ("delivered", "again", "again", "failed", "closed")

places = st.integers(0, ENDPOINTS - 1)
offsets = st.sampled_from((0, 0, 0, 1, 3_000, 20_000))
births = st.lists(st.tuples(places, offsets, st.sampled_from(KEYS)), max_size=ENDPOINTS)


class QueueMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, nothing accepted is lost and nothing is claimed twice."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(still=True)
        self.leases_now = self.clock.now()
        self.model = QueueModel()
        self.second_look: dict[int, int] = {}
        self.endpoints: list[Endpoint] = []
        self.stores = self.open()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def open(self) -> QueueStores:
        """What it is done to."""
        return OneFile(self.run, self.clock, LOST_MAX)

    @property
    def store(self) -> Store:
        return self.stores.store

    @property
    def scene(self) -> Scene:
        return Scene(self.store, now=self.clock.now())

    @initialize()
    def begin(self) -> None:
        self.application = self.run(self.scene.application())
        for _ in range(ENDPOINTS):
            self.endpoints.append(self.run(self.scene.endpoint(self.application)))

    # -- the node -----------------------------------------------------------------------

    @rule(
        target=claims,
        wanted=st.lists(st.tuples(births, st.booleans()), min_size=1, max_size=4),
        stale=st.sampled_from((False, False, False, True)),
    )
    def publish(
        self, wanted: list[tuple[list[tuple[int, int, bytes | None]], bool]], stale: bool
    ) -> MultipleResults[Claim]:
        now, ref = self.clock.now(), self.application.public_id
        revision = self.run(self.store.application(ORGANIZATION, ref)).revision
        publications = []
        for drawn, claimed in wanted:
            made = {
                place: Birth(
                    endpoint_id=self.endpoints[place].id,
                    due_at=now + offset,
                    order_key=key,
                    lease_until=0 if key or offset or not claimed else self.leases_now + LEASE,
                )
                for place, offset, key in drawn
                if self.endpoints[place].id not in self.model.deleted
            }
            publications.append(
                Publication(
                    message=self.scene.message(self.application),
                    revision=revision - stale,
                    births=tuple(made.values()),
                )
            )
        born: list[Claim] = []
        verdicts = self.run(self.store.publish(publications))
        for publication, verdict in zip(publications, verdicts, strict=True):
            assert isinstance(verdict, Published) != stale
            if isinstance(verdict, Published):
                self.model.publish(verdict.message.id, publication.births)
                expected = [birth.endpoint_id for birth in publication.births if birth.lease_until]
                assert [claim.endpoint_id for claim in verdict.claims] == expected
                born += verdict.claims
        return multiple(*born)

    @rule(
        target=claims,
        limit=st.sampled_from((1, 2, ALL, ALL)),
        room=st.sampled_from((0, 1, ALL, ALL)),
        by_name=st.booleans(),
    )
    def claim(self, limit: int, room: int, by_name: bool) -> MultipleResults[Claim]:
        return multiple(*self.claim_them(limit, room, by_name))

    @rule(target=claims, passed=st.sampled_from((0, LEASE)), give_back=st.booleans())
    def claim_all(self, passed: int, give_back: bool) -> MultipleResults[Claim]:
        self.let_time_pass(passed)
        claims = self.claim_them(ALL, ALL, True)
        if give_back:
            self.release(list(claims[::2]))
        return multiple(*claims)

    def claim_them(self, limit: int, room: int, by_name: bool) -> tuple[Claim, ...]:
        now, model = self.clock.now(), self.model
        names = [endpoint.id for endpoint in self.endpoints] if by_name else []
        visited = set(names) | {
            endpoint_id
            for endpoint_id, (next_at, _held) in lanes(self.stores.rows).items()
            if next_at is not None and next_at <= now
        }
        request = ClaimRequest(
            now=now,
            leases_now=self.leases_now,
            lease_until=self.leases_now + LEASE,
            limit=limit,
            rooms={endpoint.id: room for endpoint in self.endpoints},
            lanes=names,
            lost_max=LOST_MAX,
        )
        claimed = self.run(self.store.claim(request))
        assert claimed.lost == model.lose(now, self.leases_now, LOST_MAX)
        may_be = model.claimable(now)
        assert len(claimed.claims) <= limit
        for claim in claimed.claims:
            pair = (claim.message.id, claim.endpoint_id)
            assert pair in may_be
            may_be.discard(pair)
            duty = model.duties[pair]
            duty.take(self.leases_now + LEASE)
            assert claim.claim_number == duty.claim_number
            assert claim.attempt_count == duty.attempt_count
            assert claim.due_at == duty.due_at
            assert claim.trigger is duty.trigger
            assert claim.order_key == duty.key
        for endpoint_id in claimed.backlog:
            self.second_look[endpoint_id] = now + 1_000
        if limit == room == ALL:
            assert not [pair for pair in may_be if pair[1] in visited]
        return claimed.claims

    @rule(
        claim=claims,
        kind=st.sampled_from(VERDICTS),
        wait=offsets,
        hold=st.booleans(),
        rest=st.sampled_from((0, 0, 0, 2_000)),
        times=st.sampled_from((1, 1, 2)),
    )
    def record(self, claim: Claim, kind: str, wait: int, hold: bool, rest: int, times: int) -> None:
        now = self.clock.now()
        rest_until = now + rest if rest else 0
        verdict = {
            "delivered": Verdict(state=DeliveryState.DELIVERED),
            "again": Verdict(state=DeliveryState.PENDING, due_at=now + wait, hold_until=rest_until),
            "failed": Verdict(state=DeliveryState.FAILED, hold_until=rest_until),
        }.get(kind)
        outcome = Outcome.CLOSED if verdict is None else Outcome.REJECTED
        attempt = self.scene.attempt(claim, outcome=outcome)
        result = Result(claim=claim, attempt=attempt, verdict=verdict, hold_key=hold)
        for _ in range(times):
            self.run(self.store.record([result] * times))
            self.model.record(claim, attempt.public_id, verdict, hold)

    @rule(given=st.lists(claims, min_size=1, max_size=3))
    def release(self, given: list[Claim]) -> None:
        self.run(self.store.release(given))
        for claim in given:
            self.model.release(claim)

    # -- people, accidents, time --------------------------------------------------------

    @precondition(lambda self: self.model.duties)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        message_id, endpoint_id = data.draw(st.sampled_from(sorted(self.model.duties)))
        if endpoint_id in self.model.deleted:
            return
        self.resend_it((message_id, endpoint_id))

    def resend_it(self, pair: Pair) -> None:
        message_id, endpoint_id = pair
        endpoint = next(known for known in self.endpoints if known.id == endpoint_id)
        found = self.stores.rows(f"select public_id from message where id = {message_id}")
        now, application_id = self.clock.now(), self.application.id
        resend = self.store.resend(application_id, found[0][0], endpoint.public_id, now=now)
        if self.model.retries(pair):
            with pytest.raises(ConflictError):
                self.run(resend)
            return
        self.run(resend)
        self.model.resend(pair, now)

    @rule(
        place=places,
        what=st.sampled_from(("hold", "hold", "pause", "resume", "resume", "prune", "delete")),
        rest=offsets,
    )
    def interfere(self, place: int, what: str, rest: int) -> None:
        endpoint, now = self.endpoints[place], self.clock.now()
        if what == "prune":
            self.prune()
        elif endpoint.id in self.model.deleted:
            return
        elif what == "hold":
            self.run(self.store.hold(endpoint.id, now + rest))
            self.model.hold(endpoint.id, now + rest)
        elif what != "delete":
            self.pause(endpoint, what == "pause")
        elif not self.model.deleted and len(self.model.duties) > 6:
            self.run(self.store.delete_endpoint(self.application.id, endpoint.public_id, now=now))
            self.model.deleted.add(endpoint.id)

    def pause(self, endpoint: Endpoint, paused: bool) -> None:
        draft = EndpointDraft(url=endpoint.url, paused=paused)
        application_id, now = self.application.id, self.clock.now()
        self.run(self.store.update_endpoint(application_id, endpoint.public_id, draft, now=now))
        self.model.pause(endpoint.id, paused)
        # This is a policy that holds no key: those that waited go on.
        self.model.let_go(endpoint.id)

    def prune(self) -> None:
        pruned = self.run(self.store.prune(AGES, now=self.clock.now(), limit=500))
        left = {
            tuple(row) for row in self.stores.rows("select message_id, endpoint_id from delivery")
        }
        # Of deleted endpoints some may be left for the next round; nothing else may go.
        assert pruned.cancelled == self.model.cancel_deleted(but=left)
        assert (pruned.payloads, pruned.attempts, pruned.messages) == (0, 0, 0)

    @rule(passed=st.sampled_from((1, 500, 1_000, LEASE - 1, LEASE, 30_000)))
    def let_time_pass(self, passed: int) -> None:
        self.clock.advance(passed)
        self.leases_now += passed

    @rule(by=st.sampled_from((-3_600_000, -1_500, -1, 1_500, 3_600_000)))
    def set_the_clock(self, by: int) -> None:
        self.clock.jump(by)

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        lost = self.stores.restart(crash)
        if lost is not None:
            spared = self.model.deleted if self.stores.by_slot else ()
            assert lost == self.model.lose(self.clock.now(), None, LOST_MAX, spared)

    # -- what always holds --------------------------------------------------------------

    @invariant()
    def the_store_holds_what_it_should(self) -> None:
        check_deliveries(self.stores.rows, self.model)
        check_ends(self.stores.rows, self.model)
        check_attempts(self.stores.rows, self.model)
        check_lanes(self.stores.rows, self.model, self.second_look)

    def teardown(self) -> None:
        try:
            if self.endpoints:
                self.deliver_the_rest()
        finally:
            self.stores.close()
            self.runner.close()

    def deliver_the_rest(self) -> None:
        """Once receivers answer and nobody stands in the way, all that is left is delivered."""
        for endpoint in self.endpoints:
            if endpoint.id not in self.model.deleted:
                self.pause(endpoint, True)
                self.pause(endpoint, False)
        self.clock.jump(START + 30 * DAY - self.clock.now())
        self.leases_now += DAY
        while claims := self.claim_them(ALL, ALL, False):
            for claim in claims:
                self.record(claim, "delivered", 0, False, 0, 1)
            self.let_time_pass(1_000)
        for _ in range(2):
            self.prune()
            self.let_time_pass(DAY)
        self.the_store_holds_what_it_should()
        for duty in self.model.open_duties().values():
            assert duty.parked or not self.model.has_turn(duty)
            assert duty.endpoint_id not in self.model.deleted


class NodesMachine(QueueMachine):
    """The same with three nodes on one PostgreSQL, who take turns."""

    server: PostgresServer
    template: str

    def open(self) -> QueueStores:
        """See QueueMachine.open."""
        return ThreeNodes(self.run, self.clock, LOST_MAX, self.server, self.template)


class LongerQueueMachine(QueueMachine):
    """The same, for a night."""


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

TestQueueForLonger = pytest.mark.slow(LongerQueueMachine.TestCase)
TestQueueForLonger.settings = settings(max_examples=1_500, stateful_step_count=60, deadline=None)


@pytest.fixture
def nodes_machine(postgres: PostgresServer, migrated_template: str) -> type[NodesMachine]:
    """The machine on this server."""
    names = {"server": postgres, "template": migrated_template}
    return type("NodesMachine", (NodesMachine,), names)


def test_the_queue_of_three_nodes(nodes_machine: type[NodesMachine]) -> None:
    run_state_machine_as_test(
        nodes_machine, settings=settings(max_examples=5, stateful_step_count=40, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_the_queue_of_three_nodes_for_longer(nodes_machine: type[NodesMachine]) -> None:
    run_state_machine_as_test(
        nodes_machine, settings=settings(max_examples=400, stateful_step_count=60, deadline=None)
    )
