"""Recording: every attempt is kept, a success absorbs, and only failures are fenced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell import ids
from marketbell.model import Application, Attempt, Claim, DeliveryState, Endpoint, Outcome, Verdict
from marketbell.store.base import AttemptFilter, ClaimRequest, Page, Result, Store
from marketbell.testing.stores import ORGANIZATION, Scene

LEASE = 60_000
WAIT = 7_000

DELIVERED = Verdict(state=DeliveryState.DELIVERED)
FAILED = Verdict(state=DeliveryState.FAILED)


class Sent:
    """One delivery with its latest claim."""

    def __init__(self, scene: Scene, application: Application, endpoint: Endpoint) -> None:
        self.scene = scene
        self.application = application
        self.endpoint = endpoint
        self.claim: Claim

    async def claim_it(self) -> Claim:
        (self.claim,) = await self.scene.claim(lease=LEASE)
        return self.claim

    async def lose(self) -> Claim:
        """Let the present claim's lease end and claim anew; the claim that was lost."""
        lost = self.claim
        self.scene.pass_time(LEASE)
        await self.claim_it()
        return lost

    async def record(
        self, claim: Claim, verdict: Verdict | None, status_code: int = 500, **fields: Any
    ) -> Attempt:
        attempt = self.scene.attempt(claim, status_code, **fields)
        await self.scene.store.record([Result(claim=claim, attempt=attempt, verdict=verdict)])
        return attempt

    def again(self) -> Verdict:
        return Verdict(state=DeliveryState.PENDING, due_at=self.scene.now + WAIT)

    async def state(self) -> DeliveryState:
        states = await self.scene.store.delivery_states(self.claim.message.id)
        return states[self.endpoint.public_id]

    async def attempts(self) -> list[Attempt]:
        part = await self.scene.store.attempts(
            self.application.id,
            AttemptFilter(message_id=self.claim.message.id),
            Page(limit=100),
        )
        return [row.attempt for row in part.data][::-1]


@pytest.fixture
async def sent(scene: Scene) -> Sent:
    """A delivery that has been claimed once."""
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    one = Sent(scene, application, endpoint)
    await one.claim_it()
    return one


# -- what follows from an attempt ---------------------------------------------------------


async def test_an_attempt_is_kept_with_every_fact(sent: Sent) -> None:
    attempt = await sent.record(
        sent.claim,
        FAILED,
        reason="answered 500 ž",
        response=b"\x00\xff",
        url="https://seller.example/hooks?x=1",
        address="[2001:db8::1]:443",
        duration=12_345,
    )
    assert await sent.attempts() == [attempt]


async def test_a_success_ends_the_delivery(sent: Sent) -> None:
    await sent.record(sent.claim, DELIVERED, 200)
    assert await sent.state() is DeliveryState.DELIVERED
    sent.scene.pass_time(10 * LEASE)
    assert await sent.scene.claim(lanes=[sent.endpoint.id]) == ()


async def test_a_failure_is_due_again_at_its_time_and_uses_a_step(sent: Sent) -> None:
    await sent.record(sent.claim, sent.again())
    assert await sent.state() is DeliveryState.PENDING
    sent.scene.pass_time(WAIT - 1)
    assert await sent.scene.claim() == ()
    sent.scene.pass_time(1)
    claim = await sent.claim_it()
    assert (claim.attempt_count, claim.claim_number, claim.due_at) == (1, 2, sent.scene.now)


async def test_the_last_failure_ends_the_delivery(sent: Sent) -> None:
    await sent.record(sent.claim, FAILED)
    assert await sent.state() is DeliveryState.FAILED
    sent.scene.pass_time(10 * LEASE)
    assert await sent.scene.claim(lanes=[sent.endpoint.id]) == ()


async def test_a_closed_connection_is_kept_and_moves_nothing(sent: Sent) -> None:
    await sent.record(sent.claim, None, 0, outcome=Outcome.CLOSED, number=0)
    assert await sent.state() is DeliveryState.SENDING
    assert await sent.scene.claim(lanes=[sent.endpoint.id]) == ()
    await sent.record(sent.claim, sent.again())
    sent.scene.pass_time(WAIT)
    assert (await sent.claim_it()).attempt_count == 1
    assert [attempt.number for attempt in await sent.attempts()] == [0, 1]


async def test_a_verdict_can_let_the_whole_lane_rest(sent: Sent) -> None:
    scene = sent.scene
    until = scene.now + 30_000
    verdict = Verdict(state=DeliveryState.PENDING, due_at=scene.now + WAIT, hold_until=until)
    await sent.record(sent.claim, verdict, 429)
    await scene.publish(sent.application, sent.endpoint)
    scene.pass_time(29_999)
    assert await scene.claim() == ()
    scene.pass_time(1)
    assert len(await scene.claim()) == 2


async def test_a_paused_endpoint_stays_paused_whatever_its_last_attempt_asked_for(
    sent: Sent,
) -> None:
    scene = sent.scene
    await scene.store.hold(sent.endpoint.id, 1 << 62)
    verdict = Verdict(state=DeliveryState.PENDING, due_at=scene.now, hold_until=scene.now + 1_000)
    await sent.record(sent.claim, verdict, 429)
    scene.pass_time(10 * LEASE)
    assert await scene.claim(lanes=[sent.endpoint.id]) == ()


# -- the fence ----------------------------------------------------------------------------


async def test_a_stale_failure_is_kept_and_moves_nothing(sent: Sent) -> None:
    stale = await sent.lose()
    await sent.record(stale, sent.again())
    assert await sent.state() is DeliveryState.SENDING
    sent.scene.pass_time(WAIT)
    assert await sent.scene.claim(lanes=[sent.endpoint.id]) == ()
    outcomes = [attempt.outcome for attempt in await sent.attempts()]
    assert outcomes == [Outcome.UNKNOWN, Outcome.REJECTED]
    assert (await sent.lose()).attempt_count == 0
    assert sent.claim.attempt_count == 0


async def test_a_stale_last_failure_ends_nothing(sent: Sent) -> None:
    stale = await sent.lose()
    await sent.record(stale, FAILED)
    assert await sent.state() is DeliveryState.SENDING
    await sent.record(sent.claim, DELIVERED, 200)
    assert await sent.state() is DeliveryState.DELIVERED


async def test_a_failure_of_a_claim_that_was_lost_and_not_taken_again_moves_nothing(
    sent: Sent,
) -> None:
    scene = sent.scene
    await scene.store.hold(sent.endpoint.id, scene.now + 10 * LEASE)
    scene.pass_time(LEASE)
    assert await scene.claim() == ()  # the lease has ended, the lane rests
    await sent.record(sent.claim, FAILED)
    assert await sent.state() is DeliveryState.PENDING


async def test_a_stale_success_delivers(sent: Sent) -> None:
    stale = await sent.lose()
    await sent.record(stale, DELIVERED, 200)
    assert await sent.state() is DeliveryState.DELIVERED
    await sent.record(sent.claim, sent.again())
    await sent.record(sent.claim, FAILED)
    assert await sent.state() is DeliveryState.DELIVERED
    sent.scene.pass_time(10 * LEASE)
    assert await sent.scene.claim(lanes=[sent.endpoint.id]) == ()
    outcomes = [attempt.outcome for attempt in await sent.attempts()]
    assert outcomes == [Outcome.UNKNOWN, Outcome.ACCEPTED, Outcome.REJECTED, Outcome.REJECTED]


async def test_two_successes_deliver_once(sent: Sent) -> None:
    stale = await sent.lose()
    await sent.scene.store.record(
        [
            Result(claim=claim, attempt=sent.scene.attempt(claim), verdict=DELIVERED)
            for claim in (stale, sent.claim)
        ]
    )
    assert await sent.state() is DeliveryState.DELIVERED
    assert len(await sent.attempts()) == 3


async def test_a_success_after_the_end_changes_nothing_but_is_kept(sent: Sent) -> None:
    stale = await sent.lose()
    await sent.record(sent.claim, FAILED)
    await sent.record(stale, DELIVERED, 200)
    assert await sent.state() is DeliveryState.FAILED
    assert [attempt.outcome for attempt in await sent.attempts()][-1] is Outcome.ACCEPTED


async def test_a_success_is_absorbed_while_the_delivery_waits_for_its_retry(sent: Sent) -> None:
    stale = await sent.lose()
    await sent.record(sent.claim, sent.again())
    await sent.record(stale, DELIVERED, 200)
    assert await sent.state() is DeliveryState.DELIVERED
    sent.scene.pass_time(WAIT)
    assert await sent.scene.claim() == ()


# -- once ---------------------------------------------------------------------------------


async def test_recording_an_attempt_twice_changes_nothing_the_second_time(sent: Sent) -> None:
    attempt = sent.scene.attempt(sent.claim, 500)
    result = Result(claim=sent.claim, attempt=attempt, verdict=sent.again())
    for _ in range(3):
        await sent.scene.store.record([result])
    sent.scene.pass_time(WAIT)
    await sent.scene.store.record([result, result])
    claim = await sent.claim_it()
    assert claim.attempt_count == 1
    await sent.scene.store.record([result])
    assert await sent.state() is DeliveryState.SENDING
    assert await sent.attempts() == [attempt]


async def test_what_moves_no_delivery_wakes_no_lane(sent: Sent) -> None:
    scene = sent.scene
    failure = Result(claim=sent.claim, attempt=scene.attempt(sent.claim, 500), verdict=sent.again())
    await scene.store.record([failure])
    scene.pass_time(WAIT)
    success = Result(
        claim=await sent.claim_it(), attempt=scene.attempt(sent.claim), verdict=DELIVERED
    )
    await scene.store.record([success])
    await scene.store.record([failure, success])
    claimed = await scene.store.claim(
        ClaimRequest(now=scene.now, lease_until=scene.now + LEASE, limit=1, rooms={})
    )
    assert (claimed.claims, claimed.next_at) == ((), None)
    assert await sent.attempts() == [failure.attempt, success.attempt]
    assert await sent.state() is DeliveryState.DELIVERED


async def test_results_of_many_deliveries_are_kept_in_one_call_each_with_its_verdict(
    store: Store, scene: Scene
) -> None:
    application = await scene.application()
    endpoints = [await scene.endpoint(application) for _ in range(3)]
    for _ in range(4):
        await scene.publish(application, *endpoints)
    claims = await scene.claim()
    assert len(claims) == 12
    verdicts = (
        DELIVERED,
        FAILED,
        Verdict(state=DeliveryState.PENDING, due_at=scene.now + WAIT),
    )
    await store.record(
        [
            Result(claim=claim, attempt=scene.attempt(claim), verdict=verdicts[place % 3])
            for place, claim in enumerate(claims)
        ]
    )
    by_id = {endpoint.id: endpoint.public_id for endpoint in endpoints}
    for place, claim in enumerate(claims):
        states = await store.delivery_states(claim.message.id)
        assert states[by_id[claim.endpoint_id]] is verdicts[place % 3].state
    scene.pass_time(WAIT)
    assert len(await scene.claim()) == 4


async def test_an_attempt_at_an_endpoint_that_was_deleted_meanwhile_is_kept(
    sent: Sent, store: Store
) -> None:
    await store.delete_endpoint(sent.application.id, sent.endpoint.public_id, now=sent.scene.now)
    await sent.record(sent.claim, sent.again())
    assert len(await sent.attempts()) == 1
    sent.scene.pass_time(10 * LEASE)
    assert await sent.scene.claim(lanes=[sent.endpoint.id]) == ()


async def test_the_count_of_attempts_of_an_ended_delivery_is_that_of_the_counted_ones(
    sent: Sent, database_file: Path
) -> None:
    await sent.record(sent.claim, sent.again())
    sent.scene.pass_time(WAIT)
    await sent.claim_it()
    await sent.lose()
    await sent.record(sent.claim, None, 0, outcome=Outcome.CLOSED, number=0)
    await sent.record(sent.claim, DELIVERED, 200)
    assert len(await sent.attempts()) == 4
    assert finished(database_file) == [("delivered", 2)]


async def test_a_cancelled_delivery_keeps_the_count_of_its_attempts(
    sent: Sent, database_file: Path
) -> None:
    await sent.record(sent.claim, sent.again())
    connection = apsw.Connection(str(database_file))
    connection.execute("delete from payload")
    connection.close()
    sent.scene.pass_time(WAIT)
    assert await sent.scene.claim() == ()
    assert finished(database_file) == [("cancelled", 1)]


def finished(path: Path) -> list[tuple[str, int]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows: Any = connection.execute("select state, attempt_count from finished_delivery").fetchall()
    connection.close()
    return [(state, count) for state, count in rows]


# -- resends ------------------------------------------------------------------------------


async def test_a_resend_has_the_whole_schedule_before_it_and_a_success_stays(
    sent: Sent, store: Store
) -> None:
    await sent.record(sent.claim, DELIVERED, 200)
    public_id = sent.claim.message.public_id
    await store.resend(sent.application.id, public_id, sent.endpoint.public_id, now=sent.scene.now)
    claim = await sent.claim_it()
    assert claim.attempt_count == 0
    await sent.record(claim, FAILED)
    assert await sent.state() is DeliveryState.DELIVERED


async def test_a_failure_of_before_a_resend_does_not_move_it(sent: Sent, store: Store) -> None:
    stale = await sent.lose()
    await sent.record(sent.claim, FAILED)
    public_id = sent.claim.message.public_id
    await store.resend(sent.application.id, public_id, sent.endpoint.public_id, now=sent.scene.now)
    await sent.claim_it()
    await sent.record(stale, FAILED)
    assert await sent.state() is DeliveryState.SENDING


# -- health -------------------------------------------------------------------------------


async def test_health_is_kept_until_it_is_taken_back(sent: Sent, store: Store) -> None:
    since = sent.scene.now
    await store.note_health(sent.endpoint.id, since)
    found = await store.endpoint(sent.application.id, sent.endpoint.public_id)
    assert found.failing_since == since
    assert await store.failing_since(since + 1, 10) == (sent.endpoint.id,)
    assert await store.failing_since(since, 10) == ()
    await store.note_health(sent.endpoint.id, None)
    assert await store.failing_since(since + 1, 10) == ()


async def test_disabling_by_the_receivers_wish_stops_the_lane_and_is_no_error_twice(
    sent: Sent, store: Store
) -> None:
    scene = sent.scene
    await scene.publish(sent.application, sent.endpoint)
    for _ in range(2):
        await store.disable_endpoint(sent.endpoint.id, now=scene.now)
    found = await store.endpoint(sent.application.id, sent.endpoint.public_id)
    assert found.disabled
    scene.pass_time(10 * LEASE)
    assert await scene.claim(lanes=[sent.endpoint.id]) == ()
    await store.disable_endpoint(10**9, now=scene.now)
    await store.delete_application(ORGANIZATION, sent.application.public_id, now=scene.now)
    await store.disable_endpoint(sent.endpoint.id, now=scene.now)


async def test_attempts_of_one_instant_are_listed_newest_first(sent: Sent, store: Store) -> None:
    for _ in range(5):
        await sent.record(sent.claim, None, 0, outcome=Outcome.CLOSED, number=0)
    part = await store.attempts(
        sent.application.id, AttemptFilter(endpoint_id=sent.endpoint.id), Page()
    )
    found = [row.attempt.public_id for row in part.data]
    assert found == sorted(found, reverse=True)
    assert all(ids.is_id(ids.ATTEMPT, public_id) for public_id in found)


async def test_a_success_that_is_recorded_again_does_not_end_a_resend(
    sent: Sent, store: Store
) -> None:
    success = Result(claim=sent.claim, attempt=sent.scene.attempt(sent.claim), verdict=DELIVERED)
    await store.record([success])
    public_id = sent.claim.message.public_id
    await store.resend(sent.application.id, public_id, sent.endpoint.public_id, now=sent.scene.now)
    await store.record([success, success])
    assert await sent.state() is DeliveryState.PENDING
    assert len(await sent.attempts()) == 1


async def test_an_attempt_that_cannot_be_kept_does_not_keep_the_others_from_it(
    store: Store, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    for _ in range(5):
        await scene.publish(application, endpoint)
    claims = await scene.claim(lease=LEASE)
    reasons = ["", "", "half a pair: \ud800", "", ""]
    await store.record(
        [
            Result(claim=claim, attempt=scene.attempt(claim, reason=reason), verdict=DELIVERED)
            for claim, reason in zip(claims, reasons, strict=True)
        ]
    )
    assert "an attempt cannot be kept" in caplog.text
    scene.pass_time(LEASE)
    (again,) = await scene.claim()
    assert again.message.id == claims[2].message.id
