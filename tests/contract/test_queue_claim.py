"""Claiming: one owner at a time, and back again when an owner is lost."""

from __future__ import annotations

from pathlib import Path

import apsw

from marketbell.model import DeliveryState, Outcome, SigningKey, Trigger
from marketbell.store.base import Claimed, EndpointDraft, Store
from marketbell.testing.stores import ORGANIZATION, Scene
from support.claims import LEASE, ask, attempts, numbers, put, shop
from support.opened import opened

FAR = 10 * 365 * 86_400_000


# -- what a claim brings ------------------------------------------------------------------


async def test_a_claim_brings_all_that_sending_needs(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    published = await scene.publish(application, endpoint, payload=b'{"whole":"payload"}')
    scene.pass_time(700)
    claimed = await ask(scene)
    (claim,) = claimed.claims
    assert claim.message == published.message
    assert claim.endpoint_id == endpoint.id
    assert claim.endpoint_revision == endpoint.revision
    assert (claim.claim_number, claim.attempt_count) == (1, 0)
    assert (claim.born_at, claim.due_at) == (scene.now - 700, scene.now - 700)
    assert claim.lease_until == scene.now + LEASE
    assert claim.trigger is Trigger.SCHEDULED
    ((owner, found),) = claimed.endpoints
    assert owner == await store.application(ORGANIZATION, application.public_id)
    assert found == await store.endpoint(application.id, endpoint.public_id)


async def test_an_endpoint_comes_along_unless_the_node_has_that_revision(scene: Scene) -> None:
    application, endpoints = await shop(scene, 3)
    for endpoint in endpoints:
        await scene.publish(application, endpoint)
    known, stale, _unknown = endpoints
    claimed = await ask(scene, known={known.id: known.revision, stale.id: stale.revision - 1})
    assert {endpoint.id for _application, endpoint in claimed.endpoints} == {
        endpoint.id for endpoint in endpoints
    } - {known.id}


async def test_a_claim_names_the_revision_as_it_is_now(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    changed = await store.update_endpoint(
        application.id,
        endpoint.public_id,
        EndpointDraft(url="https://elsewhere.example/"),
        now=scene.now,
    )
    claimed = await ask(scene, known={endpoint.id: endpoint.revision})
    assert claimed.claims[0].endpoint_revision == changed.revision > endpoint.revision
    assert [found.url for _application, found in claimed.endpoints] == [changed.url]


async def test_nothing_due_brings_nothing(scene: Scene) -> None:
    claimed = await ask(scene)
    assert claimed == Claimed(claims=(), endpoints=(), backlog=frozenset(), next_at=None, lost=0)


# -- one owner at a time ------------------------------------------------------------------


async def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    await ask(scene)
    scene.pass_time(LEASE - 1)
    assert numbers(await ask(scene, lanes=[endpoint.id])) == []
    scene.pass_time(1)
    claimed = await ask(scene)
    assert claimed.lost == 1
    assert [claim.claim_number for claim in claimed.claims] == [2]


async def test_a_lost_claim_leaves_an_attempt_that_is_shown_and_not_counted(
    store: Store, scene: Scene
) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    await ask(scene)
    scene.pass_time(LEASE)
    (claim,) = (await ask(scene)).claims
    assert claim.attempt_count == 0
    (attempt,) = await attempts(store, endpoint)
    assert attempt.outcome is Outcome.UNKNOWN
    assert (attempt.number, attempt.claim_number, attempt.status_code) == (0, 1, 0)
    assert attempt.trigger is Trigger.SCHEDULED
    assert "may or may not have been sent" in attempt.reason


async def test_what_was_lost_and_what_is_due_are_claimed_together(scene: Scene) -> None:
    application, endpoints = await shop(scene, 3)
    for endpoint in endpoints[:2]:
        await scene.publish(application, endpoint)
    assert len((await ask(scene, limit=1)).claims) == 1
    scene.pass_time(LEASE)
    await scene.publish(application, endpoints[2])
    claimed = await ask(scene)
    assert claimed.lost == 1
    assert sorted(claim.claim_number for claim in claimed.claims) == [1, 1, 2]
    assert claimed.next_at is None


async def test_a_lost_claim_of_a_resend_is_shown_as_a_resend(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    message = await scene.deliver(application, endpoint)
    await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    await ask(scene)
    scene.pass_time(LEASE)
    await ask(scene)
    lost = [attempt for attempt in await attempts(store, endpoint) if not attempt.outcome.counted]
    assert [attempt.trigger for attempt in lost] == [Trigger.MANUAL]


async def test_lost_claims_never_cost_a_step(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    (claim,) = await scene.claim()
    await scene.record(claim, 500, again_at=scene.now)
    for _ in range(15):
        (claim,) = (await ask(scene)).claims
        assert claim.attempt_count == 1
        scene.pass_time(LEASE)


async def test_leases_are_measured_on_an_axis_of_their_own_if_one_is_given(scene: Scene) -> None:
    """Setting the clock must not take claims from those who work at them."""
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    leases_now = 5_000_000
    await ask(scene, leases_now=leases_now, lease_until=leases_now + LEASE)
    scene.pass_time(86_400_000)
    claimed = await ask(scene, leases_now=leases_now + LEASE - 1)
    assert (claimed.lost, claimed.claims) == (0, ())
    claimed = await ask(scene, leases_now=leases_now + LEASE)
    assert (claimed.lost, len(claimed.claims)) == (1, 1)
    assert claimed.claims[0].due_at == scene.now


async def test_a_delivery_that_is_lost_again_and_again_is_parked_and_reported(
    store: Store, scene: Scene
) -> None:
    application, (endpoint,) = await shop(scene)
    published = await scene.publish(application, endpoint)
    for turn in range(3):
        claimed = await ask(scene, lost_max=3)
        assert claimed.lost == (1 if turn else 0)
        assert len(claimed.claims) == 1
        scene.pass_time(LEASE)
    claimed = await ask(scene, lost_max=3)
    assert (claimed.lost, claimed.claims, claimed.next_at) == (1, (), None)
    scene.pass_time(FAR)
    assert numbers(await ask(scene, lanes=[endpoint.id])) == []
    assert (await store.gauges(now=scene.now)).parked == 1
    states = await store.delivery_states(published.message.id)
    assert states == {endpoint.public_id: DeliveryState.PENDING}
    assert len(await attempts(store, endpoint)) == 3


async def test_a_resend_takes_a_parked_delivery_up_again(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    published = await scene.publish(application, endpoint)
    await ask(scene)
    scene.pass_time(LEASE)
    await ask(scene, lost_max=1)
    assert (await store.gauges(now=scene.now)).parked == 1
    public_id = published.message.public_id
    await store.resend(application.id, public_id, endpoint.public_id, now=scene.now)
    (claim,) = (await ask(scene, lost_max=2)).claims
    assert claim.trigger is Trigger.MANUAL
    assert (await store.gauges(now=scene.now)).parked == 0
    scene.pass_time(LEASE)
    assert len((await ask(scene, lost_max=2)).claims) == 1  # the run of lost ones began anew


async def test_a_recorded_attempt_ends_the_run_of_lost_claims(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    for _ in range(10):
        await ask(scene, lost_max=2)
        scene.pass_time(LEASE)
        (claim,) = (await ask(scene, lost_max=2)).claims
        await scene.record(claim, 500, again_at=scene.now)
    assert len((await ask(scene, lost_max=2)).claims) == 1


async def test_more_lost_claims_than_one_step_ends_are_asked_for_at_once(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now] * 620)
    assert len((await ask(scene)).claims) == 620
    scene.pass_time(LEASE)
    first = await ask(scene)
    assert first.claims
    assert first.next_at is not None
    assert first.next_at <= scene.now
    second = await ask(scene)
    assert first.lost + second.lost == 620
    assert len(first.claims) + len(second.claims) == 620


# -- what cannot be made ------------------------------------------------------------------


async def test_a_delivery_whose_payload_is_gone_is_cancelled_and_costs_no_place(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, (endpoint,) = await shop(scene)
    lost, left = await put(scene, application, endpoint, [scene.now, scene.now])
    with apsw.Connection(str(database_file)) as connection:
        connection.execute("delete from payload where message_id = ?", (lost,))
    connection.close()
    assert numbers(await ask(scene)) == [left]
    assert await store.delivery_states(lost) == {endpoint.public_id: DeliveryState.CANCELLED}


async def test_an_endpoint_that_no_key_opens_does_not_keep_the_others_back(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, (sealed,) = await shop(scene)
    await put(scene, application, sealed, [scene.now])
    await store.aclose()
    async with opened(database_file, secrets_key=bytes(32)) as reopened:
        later = Scene(reopened, now=scene.now + 1)
        other = await later.application()
        endpoint = await later.endpoint(
            other, secret=SigningKey(kind="v1", secret=b"a new secret's bytes")
        )
        await put(later, other, endpoint, [later.now])
        claimed = await ask(later)
        assert [claim.endpoint_id for claim in claimed.claims] == [endpoint.id]
        later.pass_time(LEASE)
        claimed = await ask(later)
        assert claimed.lost == 1  # of the one that was served; the other was never taken
        assert [claim.endpoint_id for claim in claimed.claims] == [endpoint.id]
