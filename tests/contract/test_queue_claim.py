"""Claiming: one owner at a time, fairly over lanes, and back again when an owner is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell.model import (
    Application,
    Attempt,
    DeliveryState,
    Endpoint,
    Outcome,
    SigningKey,
    Trigger,
)
from marketbell.store.base import (
    AttemptFilter,
    Birth,
    Claimed,
    ClaimRequest,
    EndpointDraft,
    Page,
    Publication,
    Published,
    Store,
)
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import opened

LEASE = 60_000
FAR = 10 * 365 * 86_400_000


async def ask(scene: Scene, **request: Any) -> Claimed:
    """One claim with more room than anything needs, unless told otherwise."""
    return await scene.store.claim(
        ClaimRequest(
            **{
                "now": scene.now,
                "lease_until": scene.now + LEASE,
                "limit": 1_000,
                "rooms": {},
                "new_room": 1_000,
                **request,
            }
        )
    )


async def shop(scene: Scene, endpoints: int = 1) -> tuple[Application, list[Endpoint]]:
    application = await scene.application()
    return application, [await scene.endpoint(application) for _ in range(endpoints)]


async def put(
    scene: Scene, application: Application, endpoint: Endpoint, dues: Sequence[int], **fields: Any
) -> list[int]:
    """One message for each of these due times, in one call; their numbers."""
    revision = (await scene.store.application(ORGANIZATION, application.public_id)).revision
    verdicts = await scene.store.publish(
        [
            Publication(
                message=scene.message(application, **fields),
                revision=revision,
                births=(Birth(endpoint_id=endpoint.id, due_at=due_at),),
            )
            for due_at in dues
        ]
    )
    return [verdict.message.id for verdict in verdicts if isinstance(verdict, Published)]


async def attempts(store: Store, endpoint: Endpoint) -> list[Attempt]:
    """The attempts on record at an endpoint, oldest first."""
    part = await store.attempts(
        endpoint.application_id, AttemptFilter(endpoint_id=endpoint.id), Page(limit=1_000)
    )
    return [row.attempt for row in part.data][::-1]


def numbers(claimed: Claimed) -> list[int]:
    return [claim.message.id for claim in claimed.claims]


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
    assert first.next_at is not None
    assert first.next_at <= scene.now
    second = await ask(scene)
    assert first.lost + second.lost == 620
    assert len(first.claims) + len(second.claims) == 620


# -- room ---------------------------------------------------------------------------------


async def test_no_more_are_claimed_than_were_asked_for(scene: Scene) -> None:
    application, endpoints = await shop(scene, 3)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 5)
    assert len((await ask(scene, limit=7)).claims) == 7
    assert len((await ask(scene, limit=7, lanes=[e.id for e in endpoints])).claims) == 7
    assert len((await ask(scene, limit=7, lanes=[e.id for e in endpoints])).claims) == 1


async def test_a_lane_has_no_more_than_its_room_and_says_that_there_is_more(scene: Scene) -> None:
    application, endpoints = await shop(scene, 4)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 5)
    full, two, five, new = (endpoint.id for endpoint in endpoints)
    claimed = await ask(scene, rooms={full: 0, two: 2, five: 5}, new_room=1)
    found = [claim.endpoint_id for claim in claimed.claims]
    assert {lane: found.count(lane) for lane in (full, two, five, new)} == {
        full: 0,
        two: 2,
        five: 5,
        new: 1,
    }
    assert claimed.backlog == {full, two, new}


@pytest.mark.parametrize(("bytes_max", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)])
async def test_no_more_bytes_are_claimed_than_there_is_room_for_but_always_one_delivery(
    scene: Scene, bytes_max: int, count: int
) -> None:
    application, endpoints = await shop(scene, 2)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 2, payload=b"x" * 100)
    claimed = await ask(scene, bytes_max=bytes_max)
    assert len(claimed.claims) == count
    rest = await ask(scene, lanes=[endpoint.id for endpoint in endpoints])
    assert len(rest.claims) == 4 - count


async def test_known_backlogs_are_visited_first_and_in_their_order(scene: Scene) -> None:
    application, endpoints = await shop(scene, 4)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 3)
    one, two, three, four = (endpoint.id for endpoint in endpoints)
    await ask(scene, new_room=1)
    claimed = await ask(scene, lanes=[three, one], rooms={three: 1, one: 1}, limit=2)
    assert [claim.endpoint_id for claim in claimed.claims] == [three, one]
    assert numbers(await ask(scene)) == []  # by their time they are looked at in a second
    claimed = await ask(scene, lanes=[four, two, four])
    assert [claim.endpoint_id for claim in claimed.claims] == [four, four, two, two]


async def test_a_backlog_that_nobody_asks_for_is_looked_at_again_in_a_second(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now] * 3)
    claimed = await ask(scene, new_room=1)
    assert claimed.next_at == scene.now + 1_000
    scene.pass_time(1_000)
    assert len((await ask(scene)).claims) == 2


# -- turns --------------------------------------------------------------------------------


async def test_a_lanes_deliveries_are_claimed_in_the_order_in_which_they_fell_due(
    scene: Scene,
) -> None:
    application, (endpoint,) = await shop(scene)
    offsets = [500, 100, 900, 300, 700]
    found = await put(scene, application, endpoint, [scene.now + offset for offset in offsets])
    scene.pass_time(800)
    in_order = [found[place] for place in sorted(range(5), key=lambda place: offsets[place])]
    assert numbers(await ask(scene)) == in_order[:4]


async def test_lanes_are_served_in_the_order_in_which_they_fell_due(scene: Scene) -> None:
    application, endpoints = await shop(scene, 4)
    offsets = [400, 100, 300, 200]
    for endpoint, offset in zip(endpoints, offsets, strict=True):
        await put(scene, application, endpoint, [scene.now + offset])
    scene.pass_time(1_000)
    served = []
    for _ in endpoints:
        (claim,) = (await ask(scene, limit=1)).claims
        served.append(claim.endpoint_id)
    in_order = sorted(zip(offsets, endpoints, strict=True), key=lambda pair: pair[0])
    assert served == [endpoint.id for _offset, endpoint in in_order]


async def test_one_lane_without_room_does_not_keep_the_others_back(scene: Scene) -> None:
    application, endpoints = await shop(scene, 210)
    for endpoint in endpoints[:205]:
        await put(scene, application, endpoint, [scene.now - 5_000])
    for endpoint in endpoints[205:]:
        await put(scene, application, endpoint, [scene.now])
    stuck = {endpoint.id: 0 for endpoint in endpoints[:205]}
    found: set[int] = set()
    for _ in range(3):
        claimed = await ask(scene, rooms=stuck)
        found.update(claim.endpoint_id for claim in claimed.claims)
    assert found == {endpoint.id for endpoint in endpoints[205:]}


# -- when next ----------------------------------------------------------------------------


async def test_next_at_is_when_the_next_lane_falls_due(scene: Scene) -> None:
    application, endpoints = await shop(scene, 2)
    await put(scene, application, endpoints[0], [scene.now + 9_000, scene.now])
    await put(scene, application, endpoints[1], [scene.now + 4_000])
    claimed = await ask(scene)
    assert len(claimed.claims) == 1
    assert claimed.next_at == scene.now + 4_000
    scene.pass_time(4_000)
    assert (await ask(scene)).next_at == scene.now + 5_000


async def test_once_all_is_claimed_there_is_no_next_time(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now, scene.now])
    claimed = await ask(scene)
    assert len(claimed.claims) == 2
    assert claimed.next_at is None


# -- release, hold ------------------------------------------------------------------------


async def test_a_released_claim_is_due_as_before_and_leaves_no_trace(
    store: Store, scene: Scene
) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    due_at = scene.now
    scene.pass_time(50)
    (claim,) = (await ask(scene)).claims
    await store.release([claim])
    claimed = await ask(scene)
    (again,) = claimed.claims
    assert (again.due_at, again.attempt_count, claimed.lost) == (due_at, 0, 0)
    assert again.claim_number > claim.claim_number
    assert await attempts(store, endpoint) == []


async def test_a_birth_that_was_not_sent_can_be_released(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    published = await scene.publish(application, endpoint, lease=LEASE)
    await store.release(published.claims)
    (claim,) = (await ask(scene)).claims
    assert (claim.claim_number, claim.due_at) == (2, scene.now)


async def test_a_claim_that_is_not_the_latest_releases_nothing(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    (old,) = (await ask(scene)).claims
    scene.pass_time(LEASE)
    (new,) = (await ask(scene)).claims
    await store.release([old])
    assert numbers(await ask(scene, lanes=[endpoint.id])) == []
    await store.release([new, new])
    assert len((await ask(scene)).claims) == 1


async def test_a_release_after_the_end_changes_nothing(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    (claim,) = (await ask(scene)).claims
    await scene.record(claim)
    await store.release([claim])
    assert numbers(await ask(scene, lanes=[endpoint.id])) == []


async def test_a_held_lane_rests_and_the_others_go_on(store: Store, scene: Scene) -> None:
    application, (held, free) = await shop(scene, 2)
    for endpoint in (held, free):
        await put(scene, application, endpoint, [scene.now] * 2)
    await store.hold(held.id, scene.now + 5_000)
    claimed = await ask(scene, lanes=[held.id])
    assert {claim.endpoint_id for claim in claimed.claims} == {free.id}
    assert claimed.next_at == scene.now + 5_000
    scene.pass_time(4_999)
    assert numbers(await ask(scene)) == []
    scene.pass_time(1)
    assert len((await ask(scene)).claims) == 2


async def test_what_comes_into_a_held_lane_waits_with_it(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await store.hold(endpoint.id, scene.now + 5_000)
    await put(scene, application, endpoint, [scene.now])
    claimed = await ask(scene)
    assert (claimed.claims, claimed.next_at) == ((), scene.now + 5_000)


async def test_a_shorter_hold_does_not_end_a_longer_one(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now])
    await store.hold(endpoint.id, scene.now + 60_000)
    await store.hold(endpoint.id, scene.now + 1_000)
    scene.pass_time(59_999)
    assert numbers(await ask(scene)) == []
    scene.pass_time(1)
    assert len((await ask(scene)).claims) == 1


async def test_nothing_of_a_deleted_endpoint_is_claimed(store: Store, scene: Scene) -> None:
    application, (gone, left) = await shop(scene, 2)
    for endpoint in (gone, left):
        await put(scene, application, endpoint, [scene.now])
    await store.delete_endpoint(application.id, gone.public_id, now=scene.now)
    claimed = await ask(scene, lanes=[gone.id])
    assert [claim.endpoint_id for claim in claimed.claims] == [left.id]
    assert claimed.next_at is None


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
