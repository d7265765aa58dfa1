"""Order by key: one delivery of a key at a time, in the order in which they were accepted."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from marketbell.model import (
    Application,
    Claim,
    DeliveryState,
    Endpoint,
    Message,
    OrderOnFailure,
    Policy,
    Verdict,
)
from marketbell.store.base import (
    ApplicationDraft,
    Birth,
    ClaimRequest,
    EndpointDraft,
    Publication,
    Published,
    Result,
    Store,
)
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import after_a_crash, opened

LEASE = 60_000
KEY, OTHER_KEY = b"k" * 16, b"o" * 16
HOLDS = Policy(order_by="/id", order_on_failure=OrderOnFailure.HOLD)


class Line:
    """The deliveries of one endpoint, with short ways to move them."""

    def __init__(self, scene: Scene, application: Application, endpoint: Endpoint) -> None:
        self.scene = scene
        self.application = application
        self.endpoint = endpoint

    async def add(
        self, key: bytes | None = KEY, *, due_in: int = 0, endpoint: Endpoint | None = None
    ) -> Message:
        """One more message of a key."""
        scene = self.scene
        revision = (
            await scene.store.application(ORGANIZATION, self.application.public_id)
        ).revision
        birth = Birth(
            endpoint_id=(endpoint or self.endpoint).id,
            due_at=scene.now + due_in,
            order_key=key,
        )
        publication = Publication(
            message=scene.message(self.application), revision=revision, births=(birth,)
        )
        (verdict,) = await scene.store.publish([publication])
        assert isinstance(verdict, Published)
        return verdict.message

    async def ready(self) -> list[int]:
        """Which messages can be claimed now; their claims are given back."""
        claims = await self.scene.claim(lanes=[self.endpoint.id], lease=LEASE)
        await self.scene.store.release(claims)
        return [claim.message.id for claim in claims]

    async def claim(self, message: Message) -> Claim:
        """The one claim that can be had, which must be of this message."""
        (claim,) = await self.scene.claim(lanes=[self.endpoint.id], lease=LEASE)
        assert claim.message.id == message.id
        return claim

    async def deliver(self, message: Message) -> None:
        await self.scene.record(await self.claim(message))

    async def fail(self, message: Message, *, hold: bool = False) -> None:
        await self.scene.record(await self.claim(message), 500, hold_key=hold)

    async def resend(self, message: Message) -> None:
        await self.scene.store.resend(
            self.application.id, message.public_id, self.endpoint.public_id, now=self.scene.now
        )

    async def state(self, message: Message) -> DeliveryState:
        states = await self.scene.store.delivery_states(message.id)
        return states[self.endpoint.public_id]


@pytest.fixture
async def line(scene: Scene) -> Line:
    """An endpoint whose deliveries are ordered."""
    application = await scene.application()
    return Line(scene, application, await scene.endpoint(application, policy=HOLDS))


# -- one at a time ------------------------------------------------------------------------


async def test_only_the_first_of_a_key_can_be_claimed(line: Line) -> None:
    first, second, third = [await line.add() for _ in range(3)]
    assert await line.ready() == [first.id]
    claim = await line.claim(first)
    assert await line.ready() == []
    await line.scene.record(claim)
    assert await line.ready() == [second.id]
    await line.deliver(second)
    assert await line.ready() == [third.id]
    await line.deliver(third)
    assert await line.ready() == []


async def test_the_order_of_one_call_is_the_order_of_its_messages(
    line: Line, store: Store, scene: Scene
) -> None:
    application = await store.application(ORGANIZATION, line.application.public_id)
    birth = Birth(endpoint_id=line.endpoint.id, due_at=scene.now, order_key=KEY)
    verdicts = await store.publish(
        [
            Publication(
                message=scene.message(application), revision=application.revision, births=(birth,)
            )
            for _ in range(5)
        ]
    )
    messages = [verdict.message for verdict in verdicts if isinstance(verdict, Published)]
    for message in messages:
        await line.deliver(message)


async def test_keys_endpoints_and_deliveries_without_a_key_do_not_wait_for_one_another(
    line: Line, scene: Scene
) -> None:
    elsewhere = await scene.endpoint(line.application)
    first = await line.add()
    await line.add()
    other = await line.add(OTHER_KEY)
    await line.add(OTHER_KEY)
    free = [await line.add(None) for _ in range(2)]
    beside = await line.add(KEY, endpoint=elsewhere)
    expected = {first.id, other.id, beside.id} | {message.id for message in free}
    assert set(await line.ready()) == expected


async def test_the_retries_of_the_first_keep_the_others_waiting(line: Line, scene: Scene) -> None:
    first, second = await line.add(), await line.add()
    for _ in range(3):
        await scene.record(await line.claim(first), 500, again_at=scene.now + 7_000)
        assert await line.ready() == []
        scene.pass_time(7_000)
    await line.deliver(first)
    assert await line.ready() == [second.id]


async def test_one_for_later_keeps_those_behind_it_waiting(line: Line, scene: Scene) -> None:
    later, now = await line.add(due_in=60_000), await line.add()
    assert await line.ready() == []
    scene.pass_time(60_000)
    await line.deliver(later)
    assert await line.ready() == [now.id]


async def test_one_whose_turn_comes_early_waits_for_its_own_time(line: Line, scene: Scene) -> None:
    first, later = await line.add(), await line.add(due_in=60_000)
    await line.deliver(first)
    assert await line.ready() == []
    claimed = await scene.store.claim(
        ClaimRequest(now=scene.now, lease_until=scene.now + LEASE, limit=1, rooms={})
    )
    assert claimed.next_at == scene.now + 60_000
    scene.pass_time(60_000)
    assert await line.ready() == [later.id]


async def test_a_turn_that_comes_late_is_as_late_as_its_delivery(line: Line, scene: Scene) -> None:
    first, second = await line.add(), await line.add()
    due_at = scene.now
    scene.pass_time(5_000)
    await line.deliver(first)
    assert (await line.claim(second)).due_at == due_at


# -- how the first can end ----------------------------------------------------------------


async def test_after_a_failure_for_good_the_key_moves_on(line: Line) -> None:
    first, second = await line.add(), await line.add()
    await line.fail(first)
    assert await line.ready() == [second.id]


async def test_a_lost_claim_does_not_change_the_order(line: Line, scene: Scene) -> None:
    first, second = await line.add(), await line.add()
    await line.claim(first)
    scene.pass_time(LEASE)
    assert await line.ready() == [first.id]
    await line.deliver(first)
    assert await line.ready() == [second.id]


async def test_a_stale_success_of_the_first_lets_the_second_go(line: Line, scene: Scene) -> None:
    first, second = await line.add(), await line.add()
    stale = await line.claim(first)
    scene.pass_time(LEASE)
    late = await line.claim(first)
    await scene.record(stale)
    assert await line.ready() == [second.id]
    await scene.record(late, 500)
    assert await line.ready() == [second.id]


async def test_a_stale_failure_of_the_first_moves_nothing(line: Line, scene: Scene) -> None:
    first, _second = await line.add(), await line.add()
    stale = await line.claim(first)
    scene.pass_time(LEASE)
    await line.claim(first)
    await scene.record(stale, 500, hold_key=True)
    assert await line.ready() == []


async def test_results_of_one_call_move_a_key_through_all_its_steps(
    line: Line, store: Store, scene: Scene
) -> None:
    first, second, third = [await line.add() for _ in range(3)]
    for message in (first, second):
        claim = await line.claim(message)
        attempt = scene.attempt(claim)
        verdict = Verdict(state=DeliveryState.DELIVERED)
        result = Result(claim=claim, attempt=attempt, verdict=verdict)
        await store.record([result, result])
    assert await line.ready() == [third.id]


async def test_a_parked_first_keeps_its_key_waiting_until_it_is_resent(
    line: Line, store: Store, scene: Scene
) -> None:
    first, second = await line.add(), await line.add()
    await line.claim(first)
    scene.pass_time(LEASE)
    claimed = await store.claim(
        ClaimRequest(now=scene.now, lease_until=scene.now + LEASE, limit=9, rooms={}, lost_max=1)
    )
    assert claimed.lost == 1
    assert await line.ready() == []
    await line.resend(first)
    assert set(await line.ready()) == {first.id, second.id}


async def test_a_first_that_is_cancelled_lets_the_second_go(
    line: Line, database_file: Path
) -> None:
    first, second = await line.add(), await line.add()
    connection = apsw.Connection(str(database_file))
    connection.execute("delete from payload where message_id = ?", (first.id,))
    connection.close()
    await line.ready()
    assert await line.state(first) is DeliveryState.CANCELLED
    assert await line.ready() == [second.id]


async def test_the_order_outlives_a_crash(
    line: Line, scene: Scene, database_file: Path, tmp_path: Path
) -> None:
    messages = [await line.add() for _ in range(3)]
    await line.claim(messages[0])
    async with opened(after_a_crash(database_file, tmp_path / "crashed")) as survivor:
        assert survivor.lost_at_open == 1
        later = Line(Scene(survivor, now=scene.now), line.application, line.endpoint)
        messages.append(await later.add())
        for message in messages:
            await later.deliver(message)


# -- a key that holds ---------------------------------------------------------------------


async def test_a_key_that_holds_waits_for_its_failed_delivery(line: Line) -> None:
    first, _second = await line.add(), await line.add()
    await line.fail(first, hold=True)
    assert await line.ready() == []
    await line.add()
    assert await line.ready() == []
    free = await line.add(OTHER_KEY)
    assert await line.ready() == [free.id]


async def test_one_accepted_while_the_key_holds_and_nothing_waits_is_blocked_too(
    line: Line,
) -> None:
    first = await line.add()
    await line.fail(first, hold=True)
    await line.add()
    assert await line.ready() == []


async def test_a_resend_that_succeeds_lets_the_key_go_on_in_order(line: Line) -> None:
    first, second, third = [await line.add() for _ in range(3)]
    await line.fail(first, hold=True)
    await line.resend(first)
    assert await line.ready() == [first.id]
    await line.deliver(first)
    assert await line.state(first) is DeliveryState.DELIVERED
    assert await line.ready() == [second.id]
    await line.deliver(second)
    assert await line.ready() == [third.id]


async def test_a_resend_that_fails_leaves_the_key_as_it_is(line: Line, scene: Scene) -> None:
    first, second = await line.add(), await line.add()
    await line.fail(first, hold=True)
    await line.resend(first)
    claim = await line.claim(first)
    await scene.record(claim, 500, again_at=scene.now)
    await line.fail(first, hold=True)
    assert await line.ready() == []
    await line.resend(first)
    await line.deliver(first)
    assert await line.ready() == [second.id]


async def test_a_resend_of_another_delivery_does_not_let_the_key_go(line: Line) -> None:
    before = await line.add()
    await line.deliver(before)
    first = await line.add()
    await line.add()
    await line.fail(first, hold=True)
    await line.resend(before)
    await line.deliver(before)
    assert await line.ready() == []


async def test_a_late_success_of_the_failed_delivery_does_not_break_the_hold(
    line: Line, scene: Scene
) -> None:
    first, _second = await line.add(), await line.add()
    stale = await line.claim(first)
    scene.pass_time(LEASE)
    await line.fail(first, hold=True)
    await scene.record(stale)
    assert await line.state(first) is DeliveryState.FAILED
    assert await line.ready() == []


async def test_a_held_key_outlives_a_crash(
    line: Line, scene: Scene, database_file: Path, tmp_path: Path
) -> None:
    first, second = await line.add(), await line.add()
    await line.fail(first, hold=True)
    async with opened(after_a_crash(database_file, tmp_path / "crashed")) as survivor:
        later = Line(Scene(survivor, now=scene.now), line.application, line.endpoint)
        assert await later.ready() == []
        await later.resend(first)
        await later.deliver(first)
        assert await later.ready() == [second.id]


@pytest.mark.parametrize("level", ["endpoint", "application"])
async def test_a_policy_that_no_longer_holds_lets_every_key_go_on(
    scene: Scene, store: Store, level: str
) -> None:
    policy = HOLDS if level == "application" else Policy()
    application = await scene.application(policy=policy)
    own = HOLDS if level == "endpoint" else Policy()
    line = Line(scene, application, await scene.endpoint(application, policy=own))
    first, second = await line.add(), await line.add()
    await line.fail(first, hold=True)
    if level == "endpoint":
        draft = EndpointDraft(url=line.endpoint.url, policy=Policy(order_by="/id"))
        await store.update_endpoint(application.id, line.endpoint.public_id, draft, now=scene.now)
    else:
        changed = ApplicationDraft(name="seller", policy=Policy(order_by="/id"))
        await store.update_application(ORGANIZATION, application.public_id, changed, now=scene.now)
    assert await line.ready() == [second.id]


# -- resends ------------------------------------------------------------------------------


async def test_a_resend_stands_outside_of_the_order(line: Line) -> None:
    done = await line.add()
    await line.deliver(done)
    first, _second = await line.add(), await line.add()
    await line.resend(done)
    assert set(await line.ready()) == {done.id, first.id}


async def test_a_blocked_delivery_that_is_resent_goes_out_of_turn(line: Line) -> None:
    first, second, third = [await line.add() for _ in range(3)]
    await line.resend(second)
    assert set(await line.ready()) == {first.id, second.id}
    claims = {claim.message.id: claim for claim in await line.scene.claim()}
    await line.scene.record(claims[first.id])
    assert await line.ready() == [third.id]
