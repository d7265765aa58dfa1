"""The real store against a model of dicts: workers, lost claims, jumping clocks, crashes, resends."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw
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
)

from marketbell import ids
from marketbell.model import (
    NEVER,
    Application,
    Attempt,
    Claim,
    DeliveryState,
    Endpoint,
    Outcome,
    Verdict,
)
from marketbell.store.base import (
    Ages,
    Birth,
    ClaimRequest,
    EndpointDraft,
    Publication,
    Published,
    Result,
)
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import SECRETS_KEY, after_a_crash
from support.queue_model import Pair, QueueModel

T = TypeVar("T")

ENDPOINTS = 3
KEYS = (None, b"a" * 16, b"b" * 16)
LEASE = 5_000
LOST_MAX = 3
AGE = 10**12
AGES = Ages(payloads=AGE, attempts=AGE, messages=AGE)

places = st.integers(0, ENDPOINTS - 1)
offsets = st.sampled_from((0, 0, 0, 1, 3_000, 20_000))


class QueueMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, nothing accepted is lost and nothing is claimed twice."""

    claims = Bundle("claims")
    pairs = Bundle("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="marketbell-machine-"))
        self.path = self.folder / "marketbell.db"
        self.clock = FakeClock(still=True)
        self.leases_now = self.clock.now()
        self.model = QueueModel()
        self.second_look: dict[int, int] = {}
        self.opened = 0
        self.store = self.open()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def open(self) -> SqliteStore:
        async def open_it() -> SqliteStore:
            return SqliteStore(
                SqliteOptions(path=self.path),
                Box([SECRETS_KEY]),
                self.clock,
                WriterLimits(wait_s=30.0, lost_claims=LOST_MAX),
            )

        return self.run(open_it())

    @initialize()
    def begin(self) -> None:
        scene = Scene(self.store)
        self.application: Application = self.run(scene.application())
        self.endpoints: list[Endpoint] = [
            self.run(scene.endpoint(self.application)) for _ in range(ENDPOINTS)
        ]

    # -- the node -----------------------------------------------------------------------

    @rule(
        target=claims,
        wanted=st.lists(
            st.tuples(
                st.lists(st.tuples(places, offsets, st.sampled_from(KEYS)), max_size=3),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        ),
        stale=st.sampled_from((False, False, False, True)),
    )
    def publish(
        self, wanted: list[tuple[list[tuple[int, int, bytes | None]], bool]], stale: bool
    ) -> MultipleResults[Claim]:
        now, scene = self.clock.now(), Scene(self.store, now=self.clock.now())
        revision = self.run(
            self.store.application(ORGANIZATION, self.application.public_id)
        ).revision
        publications = []
        for drawn, claimed in wanted:
            births = {
                place: Birth(
                    endpoint_id=self.endpoints[place].id,
                    due_at=now + offset,
                    order_key=key,
                    lease_until=self.leases_now + LEASE
                    if claimed and key is None and not offset
                    else 0,
                )
                for place, offset, key in drawn
                if self.endpoints[place].id not in self.model.deleted
            }
            publications.append(
                Publication(
                    message=scene.message(self.application),
                    revision=revision - stale,
                    births=tuple(births.values()),
                )
            )
        born: list[Claim] = []
        verdicts = self.run(self.store.publish(publications))
        for publication, verdict in zip(publications, verdicts, strict=True):
            if stale:
                assert not isinstance(verdict, Published)
                continue
            assert isinstance(verdict, Published)
            self.model.publish(verdict.message.id, publication.births)
            expected = [birth.endpoint_id for birth in publication.births if birth.lease_until]
            assert [claim.endpoint_id for claim in verdict.claims] == expected
            born += verdict.claims
        return multiple(*born)

    @rule(target=pairs, data=st.data())
    @precondition(lambda self: self.model.duties)
    def pick(self, data: st.DataObject) -> Pair:
        return data.draw(st.sampled_from(sorted(self.model.duties)))

    @rule(
        target=claims,
        limit=st.sampled_from((1, 2, 1_000)),
        room=st.sampled_from((0, 1, 1_000)),
        by_name=st.booleans(),
    )
    def claim(self, limit: int, room: int, by_name: bool) -> MultipleResults[Claim]:
        now, model = self.clock.now(), self.model
        due_lanes = {
            endpoint_id
            for endpoint_id, (next_at, _held) in self.lanes().items()
            if next_at is not None and next_at <= now
        }
        names = [endpoint.id for endpoint in self.endpoints] if by_name else []
        claimed = self.run(
            self.store.claim(
                ClaimRequest(
                    now=now,
                    leases_now=self.leases_now,
                    lease_until=self.leases_now + LEASE,
                    limit=limit,
                    rooms={endpoint.id: room for endpoint in self.endpoints},
                    lanes=names,
                    lost_max=LOST_MAX,
                )
            )
        )
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
        if limit == room == 1_000:
            visited = due_lanes | set(names)
            assert not [pair for pair in model.claimable(now) if pair[1] in visited]
        return multiple(*claimed.claims)

    @rule(
        claim=claims,
        kind=st.sampled_from(("delivered", "delivered", "again", "again", "failed", "closed")),
        wait=offsets,
        hold=st.booleans(),
        rest=st.sampled_from((0, 0, 0, 2_000)),
        times=st.sampled_from((1, 1, 2)),
    )
    def record(self, claim: Claim, kind: str, wait: int, hold: bool, rest: int, times: int) -> None:
        now = self.clock.now()
        hold_until = now + rest if rest and kind != "delivered" else 0
        verdict = {
            "delivered": Verdict(state=DeliveryState.DELIVERED),
            "again": Verdict(state=DeliveryState.PENDING, due_at=now + wait, hold_until=hold_until),
            "failed": Verdict(state=DeliveryState.FAILED, hold_until=hold_until),
        }.get(kind)
        attempt = self.attempt(claim, kind)
        result = Result(claim=claim, attempt=attempt, verdict=verdict, hold_key=hold)
        for _ in range(times):
            self.run(self.store.record([result] * times))
            self.model.record(claim, attempt.public_id, verdict, hold)

    def attempt(self, claim: Claim, kind: str) -> Attempt:
        outcomes = {"delivered": Outcome.ACCEPTED, "closed": Outcome.CLOSED}
        return Attempt(
            public_id=ids.new_id(ids.ATTEMPT, self.clock.now()),
            message_id=claim.message.id,
            endpoint_id=claim.endpoint_id,
            claim_number=claim.claim_number,
            number=claim.attempt_count + 1,
            trigger=claim.trigger,
            outcome=outcomes.get(kind, Outcome.REJECTED),
            status_code=200,
            reason="",
            response=b"",
            url="https://seller.example/",
            address="",
            started_at=self.clock.now(),
            duration=1,
        )

    @rule(given=st.lists(claims, max_size=3))
    def release(self, given: list[Claim]) -> None:
        self.run(self.store.release(given))
        for claim in given:
            self.model.release(claim)

    @rule(place=places, rest=offsets)
    def hold(self, place: int, rest: int) -> None:
        endpoint_id, until = self.endpoints[place].id, self.clock.now() + rest
        self.run(self.store.hold(endpoint_id, until))
        if endpoint_id not in self.model.deleted:
            self.model.hold(endpoint_id, until)

    # -- people -------------------------------------------------------------------------

    @rule(place=places, paused=st.booleans())
    def pause(self, place: int, paused: bool) -> None:
        endpoint = self.endpoints[place]
        if endpoint.id in self.model.deleted:
            return
        draft = EndpointDraft(url=endpoint.url, paused=paused)
        self.run(
            self.store.update_endpoint(
                self.application.id, endpoint.public_id, draft, now=self.clock.now()
            )
        )
        # A policy that does not hold keys lets them go on.
        held_keys = self.model.held_keys
        self.model.held_keys = {
            key: message for key, message in held_keys.items() if key[0] != endpoint.id
        }
        self.model.pause(endpoint.id, paused)

    @rule(pair=pairs)
    def resend(self, pair: Pair) -> None:
        message_id, endpoint_id = pair
        if endpoint_id in self.model.deleted:
            return
        endpoint = next(known for known in self.endpoints if known.id == endpoint_id)
        (public_id,) = self.rows("select public_id from message where id = ?", (message_id,))[0]
        self.run(
            self.store.resend(
                self.application.id, public_id, endpoint.public_id, now=self.clock.now()
            )
        )
        self.model.resend(pair, self.clock.now())

    @precondition(lambda self: not self.model.deleted)
    @rule(place=places, certain=st.sampled_from((False, False, True)))
    def delete(self, place: int, certain: bool) -> None:
        if not certain:
            return
        endpoint = self.endpoints[place]
        self.run(
            self.store.delete_endpoint(
                self.application.id, endpoint.public_id, now=self.clock.now()
            )
        )
        self.model.deleted.add(endpoint.id)

    @rule()
    def prune(self) -> None:
        pruned = self.run(self.store.prune(AGES, now=self.clock.now(), limit=500))
        assert pruned.cancelled == self.model.cancel_deleted()
        assert (pruned.payloads, pruned.attempts, pruned.messages) == (0, 0, 0)

    # -- time and accidents -------------------------------------------------------------

    @rule(passed=st.sampled_from((1, 500, 1_000, 4_999, 5_000, 30_000)))
    def let_time_pass(self, passed: int) -> None:
        self.clock.advance(passed)
        self.leases_now += passed

    @rule(by=st.sampled_from((-3_600_000, -1_500, -1, 1_500, 3_600_000)))
    def set_the_clock(self, by: int) -> None:
        self.clock.jump(by)

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.opened += 1
        if crash:
            path = after_a_crash(self.path, self.folder / str(self.opened))
            self.run(self.store.aclose())
            self.path = path
        else:
            self.run(self.store.aclose())
        self.store = self.open()
        assert self.store.lost_at_open == self.model.lose(self.clock.now(), None, LOST_MAX)

    # -- what always holds --------------------------------------------------------------

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return cast("list[Any]", connection.execute(query, values).fetchall())
        finally:
            connection.close()

    def lanes(self) -> dict[int, tuple[int | None, int]]:
        found = self.rows("select endpoint_id, next_at, held_until from lane")
        return {endpoint_id: (next_at, held) for endpoint_id, next_at, held in found}

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        found = {
            (row[0], row[1]): row[2:]
            for row in self.rows(
                "select message_id, endpoint_id, state, due_at, claim_number, attempt_count,"
                " lost_count, order_key from delivery"
            )
        }
        open_duties = self.model.open_duties()
        assert found.keys() == open_duties.keys()
        for pair, duty in open_duties.items():
            state, due_at, claim_number, attempt_count, lost_count, key = found[pair]
            assert (state, claim_number) == (duty.state, duty.claim_number)
            assert (attempt_count, lost_count) == (duty.attempt_count, duty.lost_count)
            assert key == duty.key
            if duty.state is DeliveryState.SENDING:
                assert due_at == duty.lease_until
            elif duty.parked:
                assert due_at >= NEVER
            elif duty.endpoint_id not in self.model.deleted:
                assert due_at == duty.due_at + (0 if self.model.has_turn(duty) else NEVER)

    @invariant()
    def what_has_ended_ended_as_it_should(self) -> None:
        found = {
            (row[0], row[1]): (row[2], row[3])
            for row in self.rows(
                "select message_id, endpoint_id, state, attempt_count from finished_delivery"
            )
        }
        ended = {
            pair: (duty.ended, duty.ended_count)
            for pair, duty in self.model.duties.items()
            if duty.ended is not None
        }
        assert found == ended

    @invariant()
    def every_attempt_is_on_record(self) -> None:
        found = self.rows("select outcome, count(*) from attempt group by outcome")
        counts = dict(found)
        assert counts.pop("unknown", 0) == self.model.lost
        assert sum(counts.values()) == len(self.model.attempts)

    @invariant()
    def every_lane_with_work_wakes_in_time(self) -> None:
        lanes = self.lanes()
        assert all(next_at is None or next_at >= held for next_at, held in lanes.values())
        first: dict[int, int] = {}
        for duty in self.model.open_duties().values():
            if self.model.waits(duty):
                lane = duty.endpoint_id
                first[lane] = min(duty.due_at, first.get(lane, NEVER))
        for endpoint_id, due_at in first.items():
            next_at, held = lanes[endpoint_id]
            assert held == self.model.held_until.get(endpoint_id, 0)
            assert next_at is not None
            assert next_at <= max(held, due_at, self.second_look.get(endpoint_id, 0))

    def teardown(self) -> None:
        try:
            if hasattr(self, "application"):
                self.deliver_the_rest()
        finally:
            self.run(self.store.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)

    def deliver_the_rest(self) -> None:
        """Once receivers answer and nobody stands in the way, all that is left is delivered."""
        for place in range(ENDPOINTS):
            self.pause(place, True)
            self.pause(place, False)
        self.clock.advance(7_200_000)
        self.leases_now += 7_200_000
        for _ in range(len(self.model.duties) + 2):
            before = len(self.model.attempts)
            for claim in cast("Any", self.claim(limit=1_000, room=1_000, by_name=False)).values:
                self.record(claim, "delivered", 0, False, 0, 1)
            self.clock.advance(1_000)
            self.leases_now += 1_000
            if len(self.model.attempts) == before:
                break
        self.prune()
        self.nothing_accepted_is_lost()
        self.what_has_ended_ended_as_it_should()
        for duty in self.model.open_duties().values():
            assert duty.parked or not self.model.has_turn(duty)


class LongerQueueMachine(QueueMachine):
    """The same, for a night."""


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

TestQueueForLonger = pytest.mark.slow(LongerQueueMachine.TestCase)
TestQueueForLonger.settings = settings(max_examples=1_500, stateful_step_count=60, deadline=None)
